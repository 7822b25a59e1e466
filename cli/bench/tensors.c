/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors that are converted: made once for a size, and again for another source type. */
#include "tensors.h"
#include "team.h"

/* Rows of as many elements as the options say; one row where that would make few of them. */
static void set_shape(bench *b) {
    const uint64_t n_elems = b->size / sizeof(float);
    const uint64_t row_elems = b->options->row_elems;
    const uint64_t row =
        n_elems >= 4 * row_elems ? row_elems : n_elems / BENCH_ELEM_QUANTUM * BENCH_ELEM_QUANTUM;
    b->shape[0] = n_elems / row;
    b->shape[1] = row;
}

static void make_weights(void *ctx, size_t begin, size_t end) {
    float *values = ctx;
    const size_t first = begin / sizeof(*values);
    cli_weights(0, first, end / sizeof(*values) - first, values + first);
}

/* On all processors, as gigabytes take seconds; on this one where there are no threads. */
static void fill_base(const bench *b) {
    bench_team *team = bench_team_start(b->n_processors);
    float *values = lathe_tensor_mutable_data(b->base);
    const size_t n_bytes = (size_t)lathe_tensor_n_bytes(b->base);
    if (team != NULL) {
        bench_team_run(team, make_weights, values, n_bytes, 1);
    } else {
        make_weights(values, 0, n_bytes);
    }
    bench_team_end(team);
}

lathe_status bench_make_base(bench *b) {
    if (b->base != NULL) {
        return LATHE_OK;
    }
    lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = b->shape};
    set_shape(b);
    lathe_status status = lathe_tensor_create(b->pool, &desc, &b->base);
    if (status == LATHE_OK) {
        fill_base(b);
    }
    return status;
}

void bench_drop_tensors(bench *b) {
    lathe_tensor_release(b->source);
    lathe_tensor_release(b->base);
    b->source = NULL;
    b->base = NULL;
}

lathe_target bench_target(const bench_case *c, lathe_dtype dtype) {
    lathe_target target = {.struct_size = sizeof(target), .dtype = dtype};
    if (lathe_dtype_is_quantized(dtype)) {
        target.granularity = c->granularity;
        target.group_size = c->group_size;
    }
    return target;
}

lathe_status bench_make_source(bench *b, const bench_case *c) {
    lathe_target target = bench_target(c, c->from);
    if (b->source != NULL && lathe_tensor_dtype(b->source) == c->from &&
        lathe_tensor_granularity(b->source) == target.granularity) {
        return LATHE_OK;
    }
    lathe_tensor_release(b->source);
    b->source = NULL;
    if (c->from == LATHE_F32) {
        b->source = lathe_tensor_retain(b->base);
        return LATHE_OK;
    }
    return lathe_convert(b->setup, b->base, &target, &b->source, NULL);
}
