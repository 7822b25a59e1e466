/* SPDX-License-Identifier: Apache-2.0 */
/* Families of kernels: their programs, which are trusted once a check of their own has passed. */
#include "opencl/family.h"

#include "opencl/trust.h"
#include <string.h>

typedef struct family_kind {
    const char *options;                 /* of the programs; NULL: none but what all have */
    const char *options_without_doubles; /* on devices that lack them; NULL: the same */
    const char *options_on_pocl;         /* NULL: the same */
    const char *purpose;                 /* lt_cl_family's */
    uint32_t first;                      /* of the family's kernels among all */
    const char *kernels[6];              /* of those that no pair has */
    bool is_for_all;
} family_kind;

static const family_kind kinds[LT_CL_FAMILY_COUNT] = {
    [LT_CL_FAMILY_PAIRS] = {.purpose = ""},
    /* POCL's optimiser takes branches with barriers in them for ways of all work-items, beyond
     * their ends, too, and the kernel then writes beside its local memory. */
    [LT_CL_FAMILY_MANY] = {.options = " -DLT_BATCH",
                           .options_on_pocl = " -DLT_BATCH -cl-opt-disable",
                           .purpose = " for many tensors",
                           .first = LT_CL_MANY_AT,
                           .kernels = {"lathe_batch", "lathe_tiles_of_many"}},
    [LT_CL_FAMILY_IN_PLACE] = {.options = " -DLT_IN_PLACE",
                               .purpose = " in place",
                               .first = LT_CL_IN_PLACE_AT,
                               .kernels = {"lathe_in_place_kernel"}},
    [LT_CL_FAMILY_EXTRA_CODES] = {.options = " -DLT_EXTRA_CODES",
                                  .purpose = " for quality precise",
                                  .first = LT_CL_EXTRA_CODES_AT,
                                  .kernels = {"lathe_stream", "lathe_block"}},
    [LT_CL_FAMILY_SEARCH] = {.options = " -DLT_SEARCH",
                             .options_without_doubles = " -DLT_SEARCH -DLT_NO_DOUBLES",
                             .purpose = " for the scales of quality precise",
                             .first = LT_CL_SEARCH_AT,
                             .kernels = {"lathe_search_few", "lathe_search_whole",
                                         "lathe_count_part", "lathe_search_parts", "lathe_fit_part",
                                         "lathe_choose_scale"},
                             .is_for_all = true},
    [LT_CL_FAMILY_MEASURE] = {.options = " -DLT_MEASURE",
                              .purpose = " for quality reports",
                              .first = LT_CL_MEASURE_AT,
                              .kernels = {"lathe_measure_pairs"},
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
        family->check = options->check[i];
        family->purpose = kinds[i].purpose;
        family->is_for_all = kinds[i].is_for_all;
    }
    return LATHE_OK;
}

void lt_cl_families_destroy(lt_cl_backend *backend) {
    for (int i = 0; i < LT_CL_FAMILY_COUNT; i++) {
        lt_cl_programs_destroy(&backend->families[i].programs);
    }
}

/* The pair whose program does for a work: any one pair stands for all where the program does. */
static void pair_of(lt_cl_family_id which, const lt_work *work, lathe_dtype types[2]) {
    types[0] = kinds[which].is_for_all ? LATHE_BF16 : work->pass->src.dtype;
    types[1] = kinds[which].is_for_all ? LATHE_F32 : work->pass->dst.dtype;
}

lathe_status lt_cl_family_program(lt_queue *queue, lt_cl_family_id which, const lt_work *work,
                                  lt_cl_program **program) {
    lathe_dtype types[2];
    pair_of(which, work, types);
    return lt_cl_trusted_program(queue->backend, &queue->backend->families[which], 2, types,
                                 work->is_trial, program);
}

lathe_status lt_cl_family_kernel(lt_queue *queue, lt_cl_family_id which, uint32_t number,
                                 const lt_work *work, const lt_cl_program *program,
                                 cl_kernel *kernel) {
    const char *name = which == LT_CL_FAMILY_PAIRS ? lt_cl_kernel_name((lt_cl_kernel)number)
                                                   : kinds[which].kernels[number];
    lathe_dtype types[2];
    pair_of(which, work, types);
    cl_kernel *slot = &queue->kernels[types[0]][types[1]][kinds[which].first + number];
    const lathe_status status =
        *slot == NULL ? lt_cl_make_kernel(queue, program, name, slot) : LATHE_OK;
    *kernel = *slot;
    return status;
}

lathe_status lt_cl_self_check(lt_backend *base, lathe_dtype src, lathe_dtype dst) {
    lt_cl_backend *backend = lt_cl_of(base);
    return lt_cl_check_again(backend, &backend->families[LT_CL_FAMILY_PAIRS], src, dst);
}
