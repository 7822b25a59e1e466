/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that may be used: each is compared with the reference once, whatever the number of
 * threads that need it. */
#include "opencl/trust.h"

#include "core/error.h"

/* A family's program, known by the types that it leads through. */
typedef struct checked {
    lt_cl_backend *backend;
    lt_cl_family *family;
    uint32_t n_types;
    const lathe_dtype *types;
} checked;

static lathe_dtype src_of(const checked *c) {
    return c->types[0];
}

static lathe_dtype dst_of(const checked *c) {
    return c->types[c->n_types - 1];
}

/* Runs the check, without the mutex. A device that failed meanwhile has not been found to be wrong:
 * it is tried again another time. */
static lathe_status run_check(const checked *c) {
    const lt_cl_family *family = c->family;
    void *ctx = c->backend->check_ctx;
    atomic_uint_fast64_t *n_errors = &c->backend->counters->n_device_errors;
    const uint_fast64_t n_before = atomic_load(n_errors);
    const lathe_status status = family->check_chain != NULL
                                    ? family->check_chain(ctx, c->n_types, c->types)
                                    : family->check(ctx, src_of(c), dst_of(c));
    const bool is_wrong = status == LATHE_DEVICE && atomic_load(n_errors) == n_before;
    if (status == LATHE_OK || is_wrong) {
        const lathe_error error = *lt_error();
        lt_cl_programs_judge(&c->family->programs, src_of(c), dst_of(c), status == LATHE_OK);
        *lt_error() = error;
    }
    return status;
}

/* The same, one thread at a time. The mutex is held, but not meanwhile. */
static lathe_status check_in_turn(const checked *c) {
    bool *is_checking = &c->family->is_checking[src_of(c)][dst_of(c)];
    *is_checking = true;
    (void)pthread_mutex_unlock(&c->backend->mutex);
    lathe_status status = run_check(c);
    (void)pthread_mutex_lock(&c->backend->mutex);
    *is_checking = false;
    (void)pthread_cond_broadcast(&c->backend->checked);
    return status;
}

static lathe_status fail(const checked *c) {
    const char *device = c->backend->device.info.name;
    const char *purpose = c->family->purpose;
    return c->family->is_for_all
               ? lt_fail(LATHE_DEVICE, "%s computes other bits than the reference%s", device,
                         purpose)
               : lt_fail(LATHE_DEVICE, "%s computes other bits than the reference%s from %s to %s",
                         device, purpose, lathe_dtype_name(src_of(c)), lathe_dtype_name(dst_of(c)));
}

static lathe_status ensure_trust(const checked *c, const lt_cl_program *program) {
    lt_cl_backend *backend = c->backend;
    const bool *is_checking = &c->family->is_checking[src_of(c)][dst_of(c)];
    lathe_status status = LATHE_OK;
    (void)pthread_mutex_lock(&backend->mutex);
    while (status == LATHE_OK && atomic_load(&program->trust) == LT_CL_UNTESTED) {
        if (*is_checking) {
            (void)pthread_cond_wait(&backend->checked, &backend->mutex);
        } else {
            status = check_in_turn(c);
        }
    }
    (void)pthread_mutex_unlock(&backend->mutex);
    return status == LATHE_OK && atomic_load(&program->trust) == LT_CL_WRONG ? fail(c) : status;
}

lathe_status lt_cl_trusted_program(lt_cl_backend *backend, lt_cl_family *family, uint32_t n_types,
                                   const lathe_dtype *types, bool is_trial,
                                   lt_cl_program **program) {
    const checked c = {backend, family, n_types, types};
    lathe_status status = lt_cl_programs_get(&family->programs, src_of(&c), dst_of(&c), program);
    if (status == LATHE_OK && !is_trial && lt_cl_has_check(family) &&
        atomic_load(&(*program)->trust) != LT_CL_TRUSTED) {
        status = ensure_trust(&c, *program);
    }
    return status;
}

lathe_status lt_cl_check_again(lt_cl_backend *backend, lt_cl_family *family, lathe_dtype src,
                               lathe_dtype dst) {
    const lathe_dtype types[] = {src, dst};
    const checked c = {backend, family, 2, types};
    if (!lt_cl_has_check(family)) {
        return LATHE_OK;
    }
    (void)pthread_mutex_lock(&backend->mutex);
    while (family->is_checking[src][dst]) {
        (void)pthread_cond_wait(&backend->checked, &backend->mutex);
    }
    lathe_status status = check_in_turn(&c);
    (void)pthread_mutex_unlock(&backend->mutex);
    return status;
}

lathe_status lt_cl_make_kernel(lt_queue *queue, const lt_cl_program *program, const char *name,
                               cl_kernel *kernel) {
    pthread_mutex_t *mutex = &queue->backend->mutex;
    cl_int error = CL_SUCCESS;
    (void)pthread_mutex_lock(mutex);
    cl_kernel made = clCreateKernel(atomic_load(&program->program), name, &error);
    (void)pthread_mutex_unlock(mutex);
    *kernel = error == CL_SUCCESS ? made : NULL;
    return error == CL_SUCCESS ? LATHE_OK : lt_cl_queue_fail(queue, "clCreateKernel", error);
}
