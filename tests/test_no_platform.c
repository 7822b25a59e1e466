/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program that runs where the OpenCL loader finds no driver (OCL_ICD_VENDORS names an empty
 * folder): everything works on the CPU, and what insisted on a device is told so. Prints what went
 * wrong; exits 0 if nothing did. */
#include "support.h"
#include <stdio.h>
#include <string.h>

static int n_failures;

static void check(bool holds, const char *what) {
    if (!holds) {
        (void)fprintf(stderr, "test_no_platform: %s (%s)\n", what, lathe_last_error()->message);
        n_failures++;
    }
}

typedef struct notices {
    int n_infos;
    int n_warnings;
} notices;

static void count_notice(void *ctx, lathe_notice_level level, const char *text) {
    notices *n = ctx;
    if (text == NULL || text[0] == '\0' || strchr(text, '\n') != NULL) {
        check(false, "a notice is one line");
    }
    *(level == LATHE_NOTICE_INFO ? &n->n_infos : &n->n_warnings) += 1;
}

int main(void) {
    static const float x[] = {1.0F, -2.0F, 0.5F, 65504.0F};
    static const uint64_t shape[] = {4};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    static const uint16_t y[] = {0x3c00, 0xc000, 0x3800, 0x7bff};
    notices told = {0, 0};
    lathe_config config = {.struct_size = sizeof config,
                           .device = "opencl",
                           .notice = count_notice,
                           .notice_ctx = &told};
    lathe_engine *engine = NULL;
    lathe_device_info info = {.struct_size = sizeof info};
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;

    check(lathe_device_count() == 1, "the CPU is the only device");
    check(lathe_engine_create(&config, &engine) == LATHE_OK, "an engine");
    check(told.n_infos == 1 && told.n_warnings == 0, "one notice");
    check(lathe_engine_device(engine, &info) == LATHE_OK && strcmp(info.selector, "cpu") == 0,
          "it runs on the CPU");
    check(lathe_engine_self_check(engine) == LATHE_OK, "the self-check");
    check(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source) == LATHE_OK, "a tensor");
    memcpy(lathe_tensor_mutable_data(source), x, sizeof x);
    check(lathe_convert(engine, source, &target, &result, NULL) == LATHE_OK, "a conversion");
    check(result != NULL && memcmp(lathe_tensor_data(result), y, sizeof y) == 0, "its bytes");
    lathe_tensor_release(result);
    result = NULL;
    check(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &desc, &result) == LATHE_OK &&
              lathe_tensor_memory(result) == LATHE_MEMORY_HOST &&
              lathe_tensor_copy(engine, source, result) == LATHE_OK,
          "on the CPU all tensors are in the host's memory");
    check(lathe_tensor_map(engine, result, true) == LATHE_OK &&
              lathe_tensor_unmap(engine, result) == LATHE_OK,
          "mapping does nothing there");
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    lathe_engine_free(engine);

    static const char *const selectors[] = {"opencl",     "opencl:0",        "opencl:gpu",
                                            "opencl:cpu", "opencl:portable", "opencl:accelerator"};
    for (size_t i = 0; i < sizeof selectors / sizeof selectors[0]; i++) {
        engine = NULL;
        config.device = selectors[i];
        config.require_device = i == 0;
        const lathe_status status = lathe_engine_create(&config, &engine);
        check(status == LATHE_NOT_FOUND || (i == 0 && status == LATHE_DEVICE), selectors[i]);
        check(engine == NULL, "no engine");
    }
    return n_failures == 0 ? 0 : 1;
}
