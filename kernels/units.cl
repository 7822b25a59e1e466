/* SPDX-License-Identifier: Apache-2.0 */
/* The stream kernel's units: where they lie, and their scales. */
#include "target.cl"

/* The place of a scale, from the first on, of a side that has more than one. The host sees to it
 * that there are fewer than 2^31 elements to a scale, and phase 0 where there are several rows. */
uint lt_given_index(const lathe_side *side, lt_spot spot) {
    if (side->scales_per_row == 1) {
        return spot.row;
    }
    return spot.row * (uint)side->scales_per_row +
           lt_div_32(spot.col + (uint)side->scale_phase, &side->scale_elems);
}

/* Where a unit of the launch begins in its row. */
lt_spot lt_unit_spot(const lathe_launch *launch, uint unit) {
    lt_spot spot = {0, unit * LT_UNIT};
    if (launch->n_rows > 1) {
        spot.row = lt_div_32(unit, &launch->row_units);
        spot.col = (unit - spot.row * (uint)launch->row_units.by) * LT_UNIT;
    }
    return spot;
}

/* A spot's place on a side. Parameters are left alone: mesa passes structs as what they were copied
 * from. */
lt_spot lt_moved(lt_spot spot, const lathe_side *side) {
    const lt_spot moved = {spot.row, spot.col + (uint)side->first_col};
    return moved;
}

/* What makes results of 16 bits of numbers. */
#if LT_DST == LATHE_CL_F16
#define LT_PAIRS lt_f16_pairs
#elif LT_DST == LATHE_CL_BF16
#define LT_PAIRS lt_bf16_pairs
#endif

#if LT_DST != LATHE_CL_BITNET158

#define LT_UNIT_STEPS (LATHE_CL_GROUP * LATHE_CL_PAIR_STEPS(LT_SRC, LT_DST) / LT_GROUP)

/* A work-item's next unit lies so many elements on. */
#define LT_STEP_ELEMS (LT_GROUP * LT_UNIT)

/* In a regular launch no row ends in between. */
lt_spot lt_next_step(const lathe_launch *launch, lt_spot spot) {
    const uint col = spot.col + LT_STEP_ELEMS;
    const bool ends_row = col == (uint)launch->n_cols;
    const lt_spot next = {spot.row + (ends_row ? 1 : 0), ends_row ? 0 : col};
    return next;
}

/* The place of a work-item's unit in a step that begins at `spot`. */
lt_spot lt_item_spot(lt_spot spot, const lathe_side *side, uint item) {
    const lt_spot mine = {spot.row, spot.col + item * LT_UNIT};
    return lt_moved(mine, side);
}

/* Loads the scales of a work-item's units, on a side that has more than one; the first step begins
 * at `spot`. Where steps are whole scopes, scales follow each other at equal distances, and one
 * division does: in a loop of its own, since with the choice inside one for both, conversions take
 * half as long again on an H200. */
void lt_load_scales(__global const float *restrict scales, const lathe_launch *launch,
                    const lathe_side *side, lt_spot spot, uint item, float *loaded) {
    __global const float *from = scales + side->scale_offset;
    const uint scope = (uint)side->scale_elems.by;
    const uint stride = lt_div_32(LT_STEP_ELEMS, &side->scale_elems);
    if (stride * scope == LT_STEP_ELEMS &&
        (launch->n_rows == 1 || (uint)side->scales_per_row * scope == (uint)launch->n_cols)) {
        from += lt_given_index(side, lt_item_spot(spot, side, item));
#pragma unroll
        for (uint step = 0; step < LT_UNIT_STEPS; step++) {
            loaded[step] = from[step * stride];
        }
        return;
    }
    lt_spot next = {spot.row, spot.col};
    if (side->scales_per_row == 1) {
#pragma unroll
        for (uint step = 0; step < LT_UNIT_STEPS; step++) {
            loaded[step] = from[next.row];
            next = lt_next_step(launch, next);
        }
        return;
    }
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        loaded[step] = from[lt_given_index(side, lt_item_spot(next, side, item))];
        next = lt_next_step(launch, next);
    }
}

/* The scales of both sides, as far as they have any. */
typedef struct lt_unit_scales {
    bool one_source; /* for all units: source */
    bool one_target;
    float source;
    lt_scale target;
    float sources[LT_UNIT_STEPS];
    float targets[LT_UNIT_STEPS];
} lt_unit_scales;

/* The place of a work-item's unit a step further on, where there are several rows, of whole units. */
lt_spot lt_next_unit(const lathe_launch *launch, lt_spot spot) {
    const uint n_cols = (uint)launch->n_cols;
    lt_spot next = {spot.row, spot.col + LT_STEP_ELEMS};
    if (n_cols < LT_STEP_ELEMS) {
        const uint n_rows = lt_div_32(next.col / LT_UNIT, &launch->row_units);
        next.row += n_rows;
        next.col -= n_rows * n_cols;
    } else if (next.col >= n_cols) {
        next.row++;
        next.col -= n_cols;
    }
    return next;
}

/* Those of sides that have one scale. */
void lt_load_one_scales(__global const float *restrict src_scales,
                        __global const float *restrict dst_scales, const lathe_launch *launch,
                        lt_unit_scales *scales) {
    const lt_spot none = {0, 0};
    scales->source = 1;
    scales->one_source = LT_SRC < LATHE_CL_I8 || launch->src.scale_elems.by == 0;
    scales->one_target = LT_DST < LATHE_CL_I8 || launch->dst.scale_elems.by == 0;
    if (scales->one_source && LT_SRC >= LATHE_CL_I8) {
        scales->source = src_scales[launch->src.scale_offset];
    }
    if (scales->one_target) {
        scales->target = lt_target_scale(&launch->dst, dst_scales, none);
    }
}

/* For a regular launch whose rows have whole steps. */
void lt_load_unit_scales(__global const float *restrict src_scales,
                         __global const float *restrict dst_scales, const lathe_launch *launch,
                         lt_spot spot, uint item, lt_unit_scales *scales) {
    lt_load_one_scales(src_scales, dst_scales, launch, scales);
    if (!scales->one_source) {
        lt_load_scales(src_scales, launch, &launch->src, spot, item, scales->sources);
    }
    if (!scales->one_target) {
        lt_load_scales(dst_scales, launch, &launch->dst, spot, item, scales->targets);
    }
}

/* For any rows of whole units, of which a work-item's first is `unit`. */
void lt_load_each_scales(__global const float *restrict src_scales,
                         __global const float *restrict dst_scales, const lathe_launch *launch,
                         uint unit, lt_unit_scales *scales) {
    lt_spot spot = lt_unit_spot(launch, unit);
    lt_load_one_scales(src_scales, dst_scales, launch, scales);
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        if (!scales->one_source) {
            scales->sources[step] =
                src_scales[launch->src.scale_offset +
                           lt_given_index(&launch->src, lt_moved(spot, &launch->src))];
        }
        if (!scales->one_target) {
            scales->targets[step] =
                dst_scales[launch->dst.scale_offset +
                           lt_given_index(&launch->dst, lt_moved(spot, &launch->dst))];
        }
        spot = lt_next_unit(launch, spot);
    }
}

float lt_unit_source(const lt_unit_scales *scales, uint step) {
    return scales->one_source ? scales->source : scales->sources[step];
}

lt_scale lt_unit_target(const lt_unit_scales *scales, uint step) {
    return scales->one_target ? scales->target : lt_scale_of(scales->targets[step]);
}

#endif
