/* SPDX-License-Identifier: Apache-2.0 */
/* Converts a small tensor to BITNET158 and back, and shows what became of its values. */
#include <lathe/lathe.h>
#include <stdio.h>

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, lathe_last_error()->message);
    return 1;
}

int main(void) {
    float weights[2][6] = {{0.9f, -0.1f, 0.4f, -1.2f, 0.0f, 0.7f},
                           {-0.3f, 0.2f, 1.1f, -0.8f, 0.6f, -0.5f}};
    const uint64_t shape[] = {2, 6};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target ternary = {
        .struct_size = sizeof ternary, .dtype = LATHE_BITNET158, .granularity = LATHE_PER_ROW};
    const lathe_target f32 = {.struct_size = sizeof f32, .dtype = LATHE_F32};
    lathe_engine *engine = NULL;
    lathe_tensor *source = NULL;
    lathe_tensor *packed = NULL;
    lathe_tensor *decoded = NULL;
    int exit_status = 0;

    if (lathe_engine_create(NULL, &engine) != LATHE_OK) {
        return fail("engine");
    }
    if (lathe_tensor_wrap(lathe_engine_pool(engine), &desc, weights, NULL, 0, NULL, NULL,
                          &source) != LATHE_OK ||
        lathe_convert(engine, source, &ternary, &packed, NULL) != LATHE_OK ||
        lathe_convert(engine, packed, &f32, &decoded, NULL) != LATHE_OK) {
        exit_status = fail("convert");
        goto out;
    }
    printf("%zu bytes became %llu, and %llu scales\n", sizeof weights,
           (unsigned long long)lathe_tensor_n_bytes(packed),
           (unsigned long long)lathe_tensor_n_scales(packed));
    const float *values = lathe_tensor_data(decoded);
    for (int i = 0; i < 12; i++) {
        printf("%6.2f -> %6.3f\n", (double)weights[i / 6][i % 6], (double)values[i]);
    }
out:
    lathe_tensor_release(decoded);
    lathe_tensor_release(packed);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
    return exit_status;
}
