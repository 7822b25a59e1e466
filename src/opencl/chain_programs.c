/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of chains: one for each sequence of types. */
#include "core/error.h"
#include "lathe_chain.h"
#include "opencl/chain_kernel.h"
#include "opencl/trust.h"
#include "pool/pool.h"
#include <stdio.h>
#include <string.h>

/* The programs of chains that go through the same types on the way. */
struct lt_cl_chain_programs {
    struct lt_cl_chain_programs *next;
    lathe_dtype steps[LATHE_CL_CHAIN_STEPS]; /* 0: none */
    char options[64];
    lt_cl_family family;
};

static struct lt_cl_chain_programs *find_programs(const lt_cl_backend *backend,
                                                  const lathe_dtype *steps) {
    struct lt_cl_chain_programs *one = backend->chains;
    while (one != NULL && memcmp(one->steps, steps, sizeof one->steps) != 0) {
        one = one->next;
    }
    return one;
}

/* Makes an entry; the mutex is held. */
static lathe_status make_programs(lt_cl_backend *backend, const lathe_dtype *steps) {
    struct lt_cl_chain_programs *made = lt_pool_new(backend->pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    lathe_status status =
        lt_cl_programs_init(&made->family.programs, &backend->device, backend->pool,
                            backend->counters, lt_cl_pairs(backend)->programs.cache_dir);
    if (status != LATHE_OK) {
        lt_pool_delete(backend->pool, made);
        return status;
    }
    memcpy(made->steps, steps, sizeof made->steps);
    int n = 0;
    size_t at = 0;
    for (; n < LATHE_CL_CHAIN_STEPS && steps[n] != 0; n++) {
        at += (size_t)snprintf(made->options + at, sizeof made->options - at, " -DLT_STEP_%d=%d",
                               n + 1, (int)steps[n]);
    }
    (void)snprintf(made->options + at, sizeof made->options - at, " -DLT_CHAIN=%d", n);
    made->family.programs.options = made->options;
    made->family.check_chain = backend->check_chain;
    made->family.purpose = " for a chain";
    made->next = backend->chains;
    backend->chains = made;
    return LATHE_OK;
}

static lathe_status get_programs(lt_cl_backend *backend, const lathe_dtype *steps,
                                 struct lt_cl_chain_programs **programs) {
    lathe_status status = LATHE_OK;
    (void)pthread_mutex_lock(&backend->mutex);
    if (find_programs(backend, steps) == NULL) {
        status = make_programs(backend, steps);
    }
    *programs = find_programs(backend, steps);
    (void)pthread_mutex_unlock(&backend->mutex);
    return status;
}

void lt_cl_chains_destroy(lt_cl_backend *backend) {
    while (backend->chains != NULL) {
        struct lt_cl_chain_programs *next = backend->chains->next;
        lt_cl_programs_destroy(&backend->chains->family.programs);
        lt_pool_delete(backend->pool, backend->chains);
        backend->chains = next;
    }
}

lathe_status lt_cl_chain_kernel(lt_queue *queue, const lt_chain_work *work, const char *name,
                                cl_kernel *kernel) {
    const lt_chain *chain = work->chain;
    lathe_dtype types[LT_CHAIN_MAX_STEPS + 1] = {chain->src.dtype};
    lathe_dtype steps[LATHE_CL_CHAIN_STEPS] = {(lathe_dtype)0};
    struct lt_cl_chain_programs *programs = NULL;
    lt_cl_program *program = NULL;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        types[i + 1] = chain->steps[i].pass.dst.dtype;
    }
    memcpy(steps, types + 1, (chain->n_steps - 1) * sizeof steps[0]);
    lathe_status status = get_programs(queue->backend, steps, &programs);
    if (status == LATHE_OK) {
        status = lt_cl_trusted_program(queue->backend, &programs->family, chain->n_steps + 1, types,
                                       work->is_trial, &program);
    }
    return status == LATHE_OK ? lt_cl_make_kernel(queue, program, name, kernel)
                              : lt_cl_queue_give_up(queue, status);
}
