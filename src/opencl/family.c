/* SPDX-License-Identifier: Apache-2.0 */
/* Families of kernels: their programs, which are trusted once a check of their own has passed. */
#include "opencl/family.h"

#include "core/error.h"
#include <string.h>

typedef struct family_kind {
    const char *options;                 /* of the programs */
    const char *options_without_doubles; /* on devices that lack them; NULL: the same */
    const char *options_on_pocl;         /* NULL: the same */
    const char *kernel;
    const char *purpose; /* what the kernel is for, after "than the reference" */
    const char *more[LT_CL_FAMILY_KERNELS - 1]; /* kernels */
    bool is_for_all;                            /* one program does for all pairs */
} family_kind;

static const family_kind kinds[LT_CL_FAMILY_COUNT] = {
    /* POCL's optimiser takes branches with barriers in them for ways of all work-items, beyond
     * their ends, too, and the kernel then writes beside its local memory. */
    [LT_CL_FAMILY_MANY] = {.options = " -DLT_BATCH",
                           .options_on_pocl = " -DLT_BATCH -cl-opt-disable",
                           .kernel = "lathe_batch",
                           .purpose = "for many tensors"},
    [LT_CL_FAMILY_IN_PLACE] = {.options = " -DLT_IN_PLACE",
                               .kernel = "lathe_in_place_kernel",
                               .purpose = "in place"},
    [LT_CL_FAMILY_EXTRA_CODES] = {.options = " -DLT_EXTRA_CODES",
                                  .kernel = "lathe_stream",
                                  .purpose = "for quality precise",
                                  .more = {"lathe_block"}},
    [LT_CL_FAMILY_SEARCH] = {.options = " -DLT_SEARCH",
                             .options_without_doubles = " -DLT_SEARCH -DLT_NO_DOUBLES",
                             .kernel = "lathe_search_few",
                             .purpose = "for the scales of quality precise",
                             .more = {"lathe_search_whole", "lathe_count_part",
                                      "lathe_search_parts", "lathe_fit_part", "lathe_choose_scale"},
                             .is_for_all = true},
    [LT_CL_FAMILY_MEASURE] = {.options = " -DLT_MEASURE",
                              .kernel = "lathe_measure_pairs",
                              .purpose = "for quality reports",
                              .is_for_all = true},
};

lathe_status lt_cl_families_init(lt_cl_backend *backend, const lt_cl_options_in *options) {
    const char *platform = backend->device.info.platform;
    const bool is_pocl = strcmp(platform, "Portable Computing Language") == 0;
    for (int i = 0; i < LT_CL_FAMILY_COUNT; i++) {
        lt_cl_family *family = &backend->families[i];
        lathe_status status =
            lt_cl_programs_init(&family->programs, &backend->device, backend->pool,
                                backend->counters, options->cache_dir);
        if (status != LATHE_OK) {
            while (i-- > 0) {
                lt_cl_programs_destroy(&backend->families[i].programs);
            }
            return status;
        }
        const char *without = kinds[i].options_without_doubles;
        family->programs.options =
            backend->device.lacks_doubles && without != NULL ? without : kinds[i].options;
        if (is_pocl && kinds[i].options_on_pocl != NULL) {
            family->programs.options = kinds[i].options_on_pocl;
        }
        family->check = options->check_family[i];
    }
    return LATHE_OK;
}

void lt_cl_families_destroy(lt_cl_backend *backend) {
    for (int i = 0; i < LT_CL_FAMILY_COUNT; i++) {
        lt_cl_programs_destroy(&backend->families[i].programs);
    }
}

/* As for pairs (submit.c): what a failure of the device leaves open is not judged. */
static lathe_status run_check(lt_cl_backend *backend, lt_cl_family *family, lathe_dtype src,
                              lathe_dtype dst) {
    atomic_uint_fast64_t *n_errors = &backend->counters->n_device_errors;
    uint_fast64_t n_before = atomic_load(n_errors);
    lathe_status status = family->check(backend->check_ctx, src, dst);
    bool is_wrong = status == LATHE_DEVICE && atomic_load(n_errors) == n_before;
    if (status == LATHE_OK || is_wrong) {
        const lathe_error error = *lt_error();
        lt_cl_programs_judge(&family->programs, src, dst, status == LATHE_OK);
        *lt_error() = error;
    }
    return status;
}

/* Runs the check, one thread at a time. The mutex is held, but not meanwhile. */
static lathe_status check_in_turn(lt_cl_backend *backend, lt_cl_family *family, lathe_dtype src,
                                  lathe_dtype dst) {
    bool *is_checking = &family->is_checking[src][dst];
    *is_checking = true;
    (void)pthread_mutex_unlock(&backend->mutex);
    lathe_status status = run_check(backend, family, src, dst);
    (void)pthread_mutex_lock(&backend->mutex);
    *is_checking = false;
    (void)pthread_cond_broadcast(&backend->checked);
    return status;
}

/* The pair whose program does for a work: any one pair stands for all where the program does. */
static void pair_of(lt_cl_family_id which, const lt_work *work, lathe_dtype *src,
                    lathe_dtype *dst) {
    *src = kinds[which].is_for_all ? LATHE_BF16 : work->pass->src.dtype;
    *dst = kinds[which].is_for_all ? LATHE_F32 : work->pass->dst.dtype;
}

/* Has a pair checked once, whatever the number of threads that need it. */
static lathe_status ensure_trust(lt_cl_backend *backend, lt_cl_family_id which,
                                 const lt_cl_program *program, lathe_dtype src, lathe_dtype dst) {
    lt_cl_family *family = &backend->families[which];
    lathe_status status = LATHE_OK;
    (void)pthread_mutex_lock(&backend->mutex);
    while (status == LATHE_OK && atomic_load(&program->trust) == LT_CL_UNTESTED) {
        if (family->is_checking[src][dst]) {
            (void)pthread_cond_wait(&backend->checked, &backend->mutex);
        } else {
            status = check_in_turn(backend, family, src, dst);
        }
    }
    (void)pthread_mutex_unlock(&backend->mutex);
    if (status == LATHE_OK && atomic_load(&program->trust) == LT_CL_WRONG) {
        status = kinds[which].is_for_all
                     ? lt_fail(LATHE_DEVICE, "%s computes other bits than the reference %s",
                               backend->device.info.name, kinds[which].purpose)
                     : lt_fail(LATHE_DEVICE,
                               "%s computes other bits than the reference %s from %s to %s",
                               backend->device.info.name, kinds[which].purpose,
                               lathe_dtype_name(src), lathe_dtype_name(dst));
    }
    return status;
}

lathe_status lt_cl_family_program(lt_queue *queue, lt_cl_family_id which, const lt_work *work,
                                  lt_cl_program **program) {
    lt_cl_backend *backend = queue->backend;
    lt_cl_family *family = &backend->families[which];
    lathe_dtype src;
    lathe_dtype dst;
    pair_of(which, work, &src, &dst);
    lathe_status status = lt_cl_programs_get(&family->programs, src, dst, program);
    if (status == LATHE_OK && !work->is_trial && family->check != NULL &&
        atomic_load(&(*program)->trust) != LT_CL_TRUSTED) {
        status = ensure_trust(backend, which, *program, src, dst);
    }
    return status;
}

lathe_status lt_cl_family_kernel_at(lt_queue *queue, lt_cl_family_id which, uint32_t number,
                                    const lt_work *work, const lt_cl_program *program,
                                    cl_kernel *kernel) {
    lt_cl_backend *backend = queue->backend;
    const char *name = number == 0 ? kinds[which].kernel : kinds[which].more[number - 1];
    lathe_dtype src;
    lathe_dtype dst;
    pair_of(which, work, &src, &dst);
    cl_kernel *slot = &queue->family_kernels[which][src][dst][number];
    cl_int error = CL_SUCCESS;
    if (*slot == NULL) {
        cl_program built = program->program;
        (void)pthread_mutex_lock(&backend->mutex);
        cl_kernel made = clCreateKernel(built, name, &error);
        (void)pthread_mutex_unlock(&backend->mutex);
        *slot = error == CL_SUCCESS ? made : NULL;
    }
    *kernel = *slot;
    return error == CL_SUCCESS ? LATHE_OK : lt_cl_queue_fail(queue, "clCreateKernel", error);
}
