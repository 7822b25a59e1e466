/* SPDX-License-Identifier: Apache-2.0 */
/* What the linear kernel's two ways of finding scales share. A block is a part of one row, in which
 * elements, scopes and, but for BITNET158, the target's bytes come in sixteens. */
#include "block.cl"

#define LT_HAS_LINEAR (LT_DST >= LATHE_CL_I8 && LT_GROUP == LATHE_CL_GROUP)

#if LT_HAS_LINEAR

/* What a block's scopes are like. */
typedef struct lt_regular {
    uint scope_elems; /* of a full one */
    uint n_scopes;
} lt_regular;

lt_regular lt_regular_of(const lt_block *block, const lathe_launch *launch) {
    lt_regular regular = {block->n_cols, 1};
    if (launch->dst.scale_elems.by < block->n_cols) {
        regular.scope_elems = (uint)launch->dst.scale_elems.by;
        regular.n_scopes =
            lt_div_32(block->n_cols + regular.scope_elems - 1, &launch->dst.scale_elems);
    }
    return regular;
}

/* A scope's scale as local memory holds it: one load. */
lt_scale lt_scale_found(float4 found) {
    const lt_scale made = {found.x, found.y, found.z};
    return made;
}

/* Stores a scope's scale, and returns what codes are made with. */
float4 lt_store_scale(const lt_block *block, const lathe_launch *launch, uint scope_elems,
                      uint scope, uint stat, bool is_shrunk, __global float *dst_scales) {
    const uint col = scope * scope_elems;
    const lt_spot spot = {block->row, (uint)launch->dst.first_col + block->col + col};
    const float scale = lt_scale_from_stat(stat, min(scope_elems, block->n_cols - col), is_shrunk);
    dst_scales[lt_scale_index(&launch->dst, spot)] = scale;
    const lt_scale made = lt_scale_of(scale);
    return (float4)(made.scale, made.inverse, made.bound, 0);
}

/* The scope of a column of the block: a block has whole scopes. */
uint lt_scope_of(const lathe_launch *launch, uint col) {
    return launch->dst.scale_elems.magic == 0 ? 0 : lt_div_32(col, &launch->dst.scale_elems);
}

#if LT_SRC == LATHE_CL_F32
#define LT_LOAD 4
typedef lt_raw4 lt_load;
#define lt_load_at lt_fetch4
#else
#define LT_LOAD 8
typedef lt_raw8 lt_load;
#define lt_load_at lt_fetch8
#endif

#endif
