/* SPDX-License-Identifier: Apache-2.0 */
/* The two sides of a self-check. */
#include "engine/device/check_sides.h"

#include "cpu/cpu.h"
#include "engine/device/device_tensor.h"
#include <math.h>
#include <string.h>

lathe_status lt_check_begin(lt_check_sides *sides, lathe_engine *engine) {
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 1, .isa = LATHE_ISA_SCALAR};
    *sides = (lt_check_sides){.engine = engine};
    lathe_status status = lt_cpu_backend_create(&config, engine->pool, &sides->reference);
    if (status == LATHE_OK) {
        lt_fpenv_enter(&sides->saved);
    }
    return status;
}

void lt_check_end(lt_check_sides *sides) {
    lt_fpenv_leave(&sides->saved);
    lt_backend_release(sides->reference);
}

lathe_status lt_check_open(lt_check_sides *sides, const lathe_tensor_desc *from,
                           const lathe_tensor_desc *to) {
    lathe_engine *engine = sides->engine;
    lathe_status status = lathe_tensor_create(engine->pool, from, &sides->source);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(engine->pool, to, &sides->expected);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_create(engine->pool, to, &sides->result);
    }
    if (status == LATHE_OK) {
        status =
            lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, from, &sides->device_source);
    }
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, to, &sides->device_result);
    }
    return status;
}

void lt_check_close(lt_check_sides *sides) {
    lathe_tensor **const tensors[] = {&sides->source, &sides->expected, &sides->result,
                                      &sides->device_source, &sides->device_result};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        lathe_tensor_release(*tensors[i]);
        *tensors[i] = NULL;
    }
}

void lt_check_put(const lt_check_sides *sides, uint64_t i, uint32_t bits) {
    const lathe_dtype dtype = sides->source->layout.dtype;
    uint8_t *out = sides->source->data;
    if (dtype == LATHE_F32) {
        memcpy(out + 4 * i, &bits, sizeof bits);
    } else {
        const lt_cpu_backend *cpu = (const lt_cpu_backend *)sides->reference;
        const lt_kernel_params none = {0};
        cpu->kernels.convert[LT_HOT][LATHE_F32][dtype](&bits, out + 2 * i, 1, &none);
    }
}

/* What an F32 is rounded to. */
static float round_to(const lt_check_sides *sides, const lathe_dtype *rounds, float x) {
    const lt_kernels *kernels = &((const lt_cpu_backend *)sides->reference)->kernels;
    const lt_kernel_params none = {0};
    uint16_t narrow;
    for (size_t i = 0; i < LT_MOST_ROUNDS && rounds[i] != 0; i++) {
        kernels->convert[LT_HOT][LATHE_F32][rounds[i]](&x, &narrow, 1, &none);
        kernels->convert[LT_HOT][rounds[i]][LATHE_F32](&narrow, &x, 1, &none);
    }
    return x;
}

void lt_check_round(const lt_check_sides *sides, const lathe_dtype *rounds) {
    float *x = (float *)sides->source->data;
    for (uint64_t i = 0; i < sides->source->layout.n_elems; i++) {
        x[i] = round_to(sides, rounds, x[i]);
    }
}

void lt_check_keep_finite(const lt_check_sides *sides, const lathe_dtype *rounds) {
    float *x = (float *)sides->source->data;
    for (uint64_t i = 0; i < sides->source->layout.n_elems; i++) {
        if (isfinite(x[i]) && !isfinite(round_to(sides, rounds, x[i]))) {
            x[i] = copysignf(1.5f, x[i]);
        }
    }
}

bool lt_check_agrees(const lt_check_sides *sides) {
    const lathe_tensor *a = sides->expected;
    const lathe_tensor *b = sides->result;
    const size_t scale_bytes = (size_t)a->layout.n_scales * sizeof(float);
    return memcmp(a->data, b->data, (size_t)a->layout.n_bytes) == 0 &&
           (scale_bytes == 0 || memcmp(a->scales, b->scales, scale_bytes) == 0);
}
