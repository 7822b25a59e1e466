/* SPDX-License-Identifier: Apache-2.0 */
/* Converts four numbers through an installed lathe and checks the bits. */
#include <lathe/lathe.h>
#include <stdio.h>
#include <string.h>

static int convert_four(lathe_engine *engine) {
    static float values[4] = {1.0f, -2.0f, 0.5f, 65504.0f};
    static const uint16_t expected[4] = {0x3c00, 0xc000, 0x3800, 0x7bff};
    const uint64_t shape[1] = {4};
    lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    lathe_target target = {.struct_size = sizeof(target), .dtype = LATHE_F16};
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    int failed = 1;
    if (lathe_tensor_wrap(lathe_engine_pool(engine), &desc, values, NULL, LATHE_WRAP_READ_ONLY,
                          NULL, NULL, &source) == LATHE_OK &&
        lathe_convert(engine, source, &target, &result, NULL) == LATHE_OK) {
        failed = lathe_tensor_n_bytes(result) != sizeof(expected) ||
                 memcmp(lathe_tensor_data(result), expected, sizeof(expected)) != 0;
    }
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    return failed;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        return puts(lathe_version()) < 0;
    }
    lathe_engine *engine = NULL;
    int failed = lathe_version_number() != LATHE_VERSION_NUMBER ||
                 lathe_engine_create(NULL, &engine) != LATHE_OK || convert_four(engine);
    lathe_engine_free(engine);
    if (failed) {
        (void)fprintf(stderr, "consumer: %s\n", lathe_last_error()->message);
    }
    return failed;
}
