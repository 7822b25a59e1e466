/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of chains: one for each sequence of types, with the kernels of chains, or with those
 * of pairs that round their source first. */
#include "core/error.h"
#include "lathe_chain.h"
#include "opencl/chain_kernel.h"
#include "opencl/trust.h"
#include "pool/pool.h"
#include <stdio.h>
#include <string.h>

_Static_assert(LT_MOST_ROUNDS == LATHE_CL_CHAIN_STEPS, "steps of programs are what passes name");

/* The programs of chains that go through the same types on the way. */
struct lt_cl_chain_programs {
    struct lt_cl_chain_programs *next;
    lathe_dtype steps[LATHE_CL_CHAIN_STEPS]; /* 0: none */
    bool is_rounded;
    char options[64];
    lt_cl_family family;
};

static struct lt_cl_chain_programs *find_programs(const lt_cl_backend *backend,
                                                  const lathe_dtype *steps, bool is_rounded) {
    struct lt_cl_chain_programs *one = backend->chains;
    while (one != NULL &&
           (one->is_rounded != is_rounded || memcmp(one->steps, steps, sizeof one->steps) != 0)) {
        one = one->next;
    }
    return one;
}

/* Makes an entry; the mutex is held. */
static lathe_status make_programs(lt_cl_backend *backend, const lathe_dtype *steps,
                                  bool is_rounded) {
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
    made->is_rounded = is_rounded;
    int n = 0;
    size_t at = 0;
    for (; n < LATHE_CL_CHAIN_STEPS && steps[n] != 0; n++) {
        at += (size_t)snprintf(made->options + at, sizeof made->options - at, " -DLT_STEP_%d=%d",
                               n + 1, (int)steps[n]);
    }
    (void)snprintf(made->options + at, sizeof made->options - at, " -D%s=%d",
                   is_rounded ? "LT_ROUNDED" : "LT_CHAIN", n);
    made->family.programs.options = made->options;
    made->family.check_chain = is_rounded ? backend->check_rounded : backend->check_chain;
    made->family.purpose = " for a chain";
    made->next = backend->chains;
    backend->chains = made;
    return LATHE_OK;
}

static lathe_status get_programs(lt_cl_backend *backend, const lathe_dtype *steps, bool is_rounded,
                                 struct lt_cl_chain_programs **programs) {
    lathe_status status = LATHE_OK;
    (void)pthread_mutex_lock(&backend->mutex);
    if (find_programs(backend, steps, is_rounded) == NULL) {
        status = make_programs(backend, steps, is_rounded);
    }
    *programs = find_programs(backend, steps, is_rounded);
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

/* Types that a program leads through. */
typedef struct through {
    uint32_t n_types;
    lathe_dtype types[LATHE_CL_CHAIN_STEPS + 2];
    bool is_rounded;
    bool is_trial;
} through;

static lathe_status get_program(lt_queue *queue, const through *t, lt_cl_program **program) {
    lathe_dtype steps[LATHE_CL_CHAIN_STEPS] = {(lathe_dtype)0};
    struct lt_cl_chain_programs *programs = NULL;
    memcpy(steps, t->types + 1, (t->n_types - 2) * sizeof steps[0]);
    lathe_status status = get_programs(queue->backend, steps, t->is_rounded, &programs);
    if (status == LATHE_OK) {
        status = lt_cl_trusted_program(queue->backend, &programs->family, t->n_types, t->types,
                                       t->is_trial, program);
    }
    return status == LATHE_OK ? LATHE_OK : lt_cl_queue_give_up(queue, status);
}

lathe_status lt_cl_chain_kernel(lt_queue *queue, const lt_chain_work *work, const char *name,
                                cl_kernel *kernel) {
    const lt_chain *chain = work->chain;
    through t = {
        .n_types = chain->n_steps + 1, .types = {chain->src.dtype}, .is_trial = work->is_trial};
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        t.types[i + 1] = chain->steps[i].pass.dst.dtype;
    }
    lt_cl_program *program = NULL;
    const lathe_status status = get_program(queue, &t, &program);
    return status == LATHE_OK ? lt_cl_make_kernel(queue, program, name, kernel) : status;
}

lathe_status lt_cl_rounded_kernel(lt_queue *queue, const lt_work *work, lt_cl_kernel which,
                                  cl_kernel *kernel) {
    const lt_pass *pass = work->pass;
    through t = {.types = {pass->src.dtype}, .is_rounded = true, .is_trial = work->is_trial};
    uint32_t n = 1;
    for (uint32_t i = 0; i < LT_MOST_ROUNDS && pass->rounds[i] != 0; i++) {
        t.types[n++] = pass->rounds[i];
    }
    t.types[n] = pass->dst.dtype;
    t.n_types = n + 1;
    if (memcmp(queue->rounded_types, t.types, sizeof t.types) != 0) {
        lt_cl_drop_rounded(queue);
        memcpy(queue->rounded_types, t.types, sizeof t.types);
    }
    /* A kernel that is kept may be a trial's, whose program has failed since. */
    lt_cl_program *program = NULL;
    lathe_status status = get_program(queue, &t, &program);
    if (status == LATHE_OK && queue->rounded[which] == NULL) {
        status =
            lt_cl_make_kernel(queue, program, lt_cl_kernel_name(which), &queue->rounded[which]);
    }
    *kernel = queue->rounded[which];
    return status;
}
