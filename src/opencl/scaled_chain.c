/* SPDX-License-Identifier: Apache-2.0 */
/* Chains in which no value needs more than ordinary numbers do: launches of kernels that find the
 * scales on the way and read the source once, or are given one scale for each step. */
#include "chain.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "lathe_chain.h"
#include "opencl/chain_kernel.h"
#include "opencl/release.h"

/* The elements of a launch: whole blocks. */
#define MOST_ELEMS (LATHE_CL_MAX_ELEMS / LATHE_CL_CHAIN_BLOCK * LATHE_CL_CHAIN_BLOCK)

/* Both sides begin with what work-items load and store at once. */
enum { ALIGNMENT = 32 };

static bool is_power(uint64_t n) {
    return (n & (n - 1)) == 0;
}

/* Whether the kernels do for a chain, scopes apart. */
static bool is_ordinary(const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    const lt_layout *last = &chain->steps[chain->n_steps - 1].pass.dst;
    if (work->n_steps != chain->n_steps || chain->n_steps < 2 ||
        chain->n_steps > LATHE_CL_CHAIN_STEPS + 1 || chain->src.n_scales != 0 ||
        !lt_layout_is_dense(&chain->src) || !lt_layout_is_dense(last) ||
        work->src.data_offset % ALIGNMENT != 0 || work->dst.data_offset % ALIGNMENT != 0) {
        return false;
    }
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        const bool is_absmax = pass->quality == LATHE_BALANCED &&
                               lt_dtype_traits_of(pass->dst.dtype)->rule == LT_RULE_ABSMAX;
        if (pass->strict || (pass->dst.n_scales > 0 && !is_absmax)) {
            return false;
        }
    }
    return true;
}

/* Elements of the scopes of all steps that have scales; 0: none has, or the kernel that finds them
 * does not do for them. */
static uint64_t scope_of(const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    uint64_t scope = 0;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_layout *dst = &chain->steps[i].pass.dst;
        const uint64_t own = dst->scale_elems;
        if (dst->n_scales == 0) {
            continue;
        }
        if (!is_power(own) || own < LATHE_CL_CHAIN_LEAST || own > LATHE_CL_CHAIN_BLOCK ||
            dst->row_elems % own != 0 || (scope != 0 && own != scope)) {
            return 0;
        }
        scope = own;
    }
    return is_ordinary(work) ? scope : 0;
}

static uint64_t unit_of(const lt_chain *chain) {
    return LATHE_CL_UNIT((int)chain->src.dtype,
                         (int)chain->steps[chain->n_steps - 1].pass.dst.dtype);
}

bool lt_cl_takes_near_chain(const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    bool has_one = chain->is_finite && work->n_elems % unit_of(chain) == 0;
    for (uint32_t i = 0; has_one && i < chain->n_steps; i++) {
        has_one = chain->steps[i].pass.dst.n_scales <= 1;
    }
    return has_one && is_ordinary(work);
}

/* The scales of a chain, one for each step. */
static lathe_near near_of(const lt_chain *chain) {
    lathe_near made = {0};
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const float *scales = chain->steps[i].scales;
        const float scale = scales != NULL ? *scales : 1;
        made.scales[i + 1 < chain->n_steps ? i : LATHE_CL_CHAIN_STEPS] =
            (lathe_near_scale){scale, lt_inverse_scale(scale)};
    }
    return made;
}

/* What launches have in common. */
typedef struct scaled {
    lt_queue *queue;
    const lt_chain_work *work;
    cl_kernel kernel;
    uint64_t scope;  /* of own_scales; else 1 */
    lathe_near near; /* without own_scales */
} scaled;

static lathe_launch launch_of(const scaled *s, uint64_t elem, uint64_t n_elems) {
    const lt_chain *chain = s->work->chain;
    const lt_layout *dst = &chain->steps[chain->n_steps - 1].pass.dst;
    const lt_span *from = &s->work->src;
    const lt_span *to = &s->work->dst;
    return (lathe_launch){
        .src.data_offset = from->data_offset - from->first_byte + elem * chain->src.unit_bytes,
        .dst.data_offset =
            to->data_offset - to->first_byte + elem / dst->unit_elems * dst->unit_bytes,
        .dst.scale_offset =
            dst->n_scales > 0 ? to->scale_offset - to->first_scale + elem / s->scope : 0,
        .fault_base = elem,
        .n_units = n_elems / unit_of(chain),
        .scope_elems = s->scope,
        .report = s->queue->n_launches,
    };
}

static cl_int set_args(const scaled *s, const lathe_launch *launch) {
    const lt_chain_work *work = s->work;
    const cl_mem reports = s->queue->reports.device;
    const cl_mem scales = work->dst.scales != NULL ? work->dst.scales->device : reports;
    const struct {
        size_t n_bytes;
        const void *value;
    } args[] = {
        {sizeof(cl_mem), &work->src.data->device},
        {sizeof(cl_mem), &work->dst.data->device},
        {work->own_scales ? sizeof scales : sizeof s->near,
         work->own_scales ? (const void *)&scales : (const void *)&s->near},
        {sizeof reports, &reports},
        {sizeof *launch, launch},
    };
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; error == CL_SUCCESS && i < sizeof args / sizeof args[0]; i++) {
        error = clSetKernelArg(s->kernel, i, args[i].n_bytes, args[i].value);
    }
    return error;
}

static lathe_status enqueue(scaled *s, uint64_t elem, uint64_t n_elems) {
    lt_queue *queue = s->queue;
    lathe_status status = s->work->own_scales ? lt_cl_ready_report(queue) : LATHE_OK;
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_launch launch = launch_of(s, elem, n_elems);
    cl_int error = set_args(s, &launch);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t local = queue->backend->device.group_size;
    size_t global = (size_t)lt_ceil_div(n_elems, LATHE_CL_CHAIN_BLOCK) * local;
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, s->kernel, 1, NULL, &global, &local,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status != LATHE_OK) {
        return status;
    }
    lt_count(&queue->backend->counters->n_launches, 1);
    if (s->work->own_scales) { /* else there is nothing to report */
        queue->launches[queue->n_launches++] =
            (lt_cl_pending){.args = launch, .outcome = s->work->outcome};
    }
    return LATHE_OK;
}

bool lt_cl_takes_scaled_chain(const lt_chain_work *work) {
    return scope_of(work) != 0;
}

lathe_status lt_cl_submit_scaled_chain(lt_queue *queue, const lt_chain_work *work) {
    const uint64_t end = work->first_elem + work->n_elems;
    const char *name = work->own_scales ? "lathe_scaled_chain" : "lathe_near_chain";
    scaled s = {.queue = queue, .work = work, .scope = scope_of(work)};
    if (!work->own_scales) {
        s.scope = 1;
        s.near = near_of(work->chain);
    }
    if (s.scope == 0) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the device finds no scales on the way of this chain");
    }
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = lt_cl_chain_kernel(queue, work, name, &s.kernel);
    }
    for (uint64_t elem = work->first_elem; status == LATHE_OK && elem < end; elem += MOST_ELEMS) {
        status = enqueue(&s, elem, lt_min(MOST_ELEMS, end - elem));
    }
    if (s.kernel != NULL) {
        lt_cl_release_kernel(s.kernel);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}
