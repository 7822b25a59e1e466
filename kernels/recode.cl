/* SPDX-License-Identifier: Apache-2.0 */
/* The recode kernels: conversions between quantized types whose scopes have one source scale each.
 * What is odd (a scale that is not plain, an I2 of -2 in a sum) is left to the block kernel's
 * functions, in a kernel that follows. */
#include "recode_tiles.cl"

#if LT_HAS_RECODE

/* The scopes that a work-item makes the maps of: every LT_TEAM-th of one part, from `first` on.
 * Those that follow each other have different teams' parts. */
typedef struct lt_owned {
    uint team;
    uint first;
    lt_block part;
    float scales[LT_OWNED]; /* the source's */
} lt_owned;

/* What a kernel knows of its launch before it begins, which spares it instructions and registers:
 * that the launch is REGULAR, that parts are one scope. */
typedef struct lt_known {
    bool is_regular;
    bool is_whole;
} lt_known;

bool lt_is_regular(const lathe_launch *launch, lt_known known) {
    return known.is_regular || (launch->flags & LATHE_CL_REGULAR) != 0;
}

lt_block lt_part_at(const lathe_launch *launch, uint index, bool is_regular) {
    lt_block part = {0, 0, 0, 0, 0, 0, 0};
    if (index >= (uint)launch->n_units) {
        return part;
    }
    if (!is_regular) {
        return lt_block_of(launch, index);
    }
    part.row = index;
    part.elem = index * (uint)launch->block_cols;
    part.n_rows = 1;
    part.n_cols = min((uint)launch->block_cols, (uint)launch->n_elems - part.elem);
    part.n_elems = part.n_cols;
    return part;
}

/* Where a part's columns from `col` on lie in the source. */
lt_spot lt_part_spot(const lathe_launch *launch, const lt_block *part, uint col, bool is_regular) {
    if (!is_regular) {
        return lt_spot_of(&launch->src, part->elem + col);
    }
    const lt_spot spot = {part->row, col};
    return spot;
}

__global const uchar *lt_part_from(const lathe_launch *launch, __global const uchar *src,
                                   const lt_block *part, bool is_regular) {
    const lt_spot spot = lt_part_spot(launch, part, 0, is_regular);
    return src + lt_row_offset(&launch->src, spot.row) + lt_source_byte(spot.col);
}

/* The index of the scale of a part's scope, which begins at `spot`. */
ulong lt_scope_scale(const lathe_side *side, lt_spot spot, uint scope, bool is_regular) {
    if (!is_regular) {
        return lt_scale_index(side, spot);
    }
    return side->scale_offset +
           (spot.row * (uint)side->scales_per_row + (side->scale_elems.by == 0 ? 0 : scope));
}

/* Loads the team's part. */
void lt_load_part(lt_team *team, const lathe_launch *launch, __global const uchar *src,
                  bool is_regular) {
    __global const uchar *part = lt_part_from(launch, src, &team->block, is_regular);
#if LT_SRC == LATHE_CL_BITNET158
    lt_load_trit_words(team, part);
#else
    __global const uchar *from = part + team->member * (LT_VECTOR * LT_SRC_BITS / 8);
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        const uint vector = i * team->n_members + team->member;
        if (vector * LT_VECTOR < team->block.n_cols) {
            team->codes[i] =
                lt_load_codes(from + i * team->n_members * (LT_VECTOR * LT_SRC_BITS / 8));
        } else {
            team->codes[i] = lt_no_codes();
        }
    }
#endif
}

lt_team lt_team_of(const lathe_launch *launch, uint group, uint item,
                   __local lt_recode_memory *memory, lt_known known) {
    const uint index = item / LT_TEAM;
    lt_team team;
    team.member = item % LT_TEAM;
    team.n_members = LT_TEAM;
    team.block = lt_part_at(launch, group * LT_TEAMS + index, lt_is_regular(launch, known));
    team.scope_elems = (uint)launch->scope_elems;
    team.is_whole = known.is_whole || launch->scope_elems >= launch->block_cols;
#if LT_SHARED_WORDS > 0
    team.shared = memory->shared[index];
#endif
    team.maps = memory->maps[index];
#if LT_STAGES
    team.staged = (__local uint *)memory->codes[index];
#endif
#if LT_DST == LATHE_CL_BITNET158
    team.packed = LT_PACKS_DIGITS ? team.shared + 1
                  : LT_STAGES     ? (__local uint4 *)team.staged + 1
                                  : team.shared + LT_TEAM_ELEMS / 64 + 1;
#endif
    return team;
}

/* Where the i-th of them begins; behind the part, if there is none. */
uint lt_owned_col(const lt_owned *own, uint i, uint scope_elems) {
    return (own->first + i * LT_TEAM) * scope_elems;
}

lt_owned lt_owned_by(const lathe_launch *launch, __global const float *src_scales, uint group,
                     uint item, lt_known known) {
    const bool is_regular = lt_is_regular(launch, known);
    lt_owned own;
    own.team = item % LT_TEAMS;
    own.first = item / LT_TEAMS;
    uint index = group * LT_TEAMS + own.team;
    if (known.is_whole) {
        /* The part's only scope is the first work-item's. */
        index = known.is_regular && own.first != 0 ? (uint)launch->n_units : index;
        own.part = lt_part_at(launch, index, is_regular);
        const lt_spot from = {own.part.row, 0};
        own.scales[0] = own.first == 0 && own.part.n_cols > 0
                            ? src_scales[lt_scope_scale(&launch->src, from, 0, is_regular)]
                            : 0;
        return own;
    }
    own.part = lt_part_at(launch, index, is_regular);
    const lt_spot begin = lt_part_spot(launch, &own.part, 0, is_regular);
#pragma unroll
    for (uint i = 0; i < LT_OWNED; i++) {
        const uint col = lt_owned_col(&own, i, (uint)launch->scope_elems);
        own.scales[i] = 0;
        if (col < own.part.n_cols) {
            const lt_spot from = {begin.row, begin.col + col};
            own.scales[i] =
                src_scales[lt_scope_scale(&launch->src, from, own.first + i * LT_TEAM, is_regular)];
        }
    }
    return own;
}

/* Has local memory what statistics are made of. Says so where there is an I2 of -2 in a sum. */
void lt_stage_part(const lt_team *team, __local uint *is_odd, __global uint *report) {
#if LT_SRC == LATHE_CL_BITNET158
    lt_unpack_part(team, report);
#elif LT_STAGES
    /* Zeros behind the part's end are added to sums like the rest. */
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        lt_stage_codes(team->staged, i * team->n_members + team->member, team->codes[i]);
#if LT_SRC == LATHE_CL_I2
        uint twos = 0;
        for (uint k = 0; k < LT_SRC_WORDS; k++) {
            twos |= team->codes[i].words[k] & ~(team->codes[i].words[k] << 1) & 0xaaaaaaaa;
        }
        if (twos != 0) {
            *is_odd = 1;
        }
#endif
    }
#elif !LT_IS_MEAN && LT_SRC != LATHE_CL_I1
    lt_leave_tops(team, team->codes);
#endif
}

/* The same of the scopes: the source's scale has the map which, for I1, is all of it. */
void lt_prepare_scopes(const lt_owned *own, const lt_team *team, const lathe_launch *launch,
                       __local lt_recode_memory *memory, bool is_whole) {
#pragma unroll
    for (uint i = 0; i < (is_whole ? 1 : LT_OWNED); i++) {
        if (lt_owned_col(own, i, team->scope_elems) < own->part.n_cols) {
            __local lt_map *map = &memory->maps[own->team][own->first + i * LT_TEAM];
#if LT_DST == LATHE_CL_I1
            *map = lt_map_of(own->scales[i], 0, false);
#else
            map->scale = own->scales[i];
#endif
            if (!lt_is_plain(own->scales[i])) {
                memory->is_odd = 1;
            }
        }
    }
#if LT_COUNTS
    /* The sums of a long scope's lanes, of which there is one in a part. */
    if ((launch->flags & LATHE_CL_OWN_SCALES) != 0 && (is_whole || lt_is_long(team->scope_elems)) &&
        lt_owned_col(own, 0, team->scope_elems) < own->part.n_cols) {
        lt_fill_steps(memory->steps[own->team], LT_TEAM_ELEMS / LATHE_STAT_LANES, own->scales[0]);
    }
#endif
}

/* The codes of the work-item's vector i: zeros behind the part's end. From local memory where they
 * are there, as statistics take registers, too; for I1 they are wanted before that. */
lt_codes lt_codes_of(const lt_team *team, uint i) {
#if LT_SRC == LATHE_CL_BITNET158 || (LT_STAGES && LT_DST != LATHE_CL_I1)
    const uint vector = i * team->n_members + team->member;
    if (vector * LT_VECTOR >= team->block.n_cols) {
        return lt_no_codes();
    }
    return lt_staged_codes(team->staged, vector);
#else
    return team->codes[i];
#endif
}

#if LT_STAGES && !LT_IS_MEAN

/* All of them. */
void lt_load_staged(const lt_team *team, lt_codes *codes) {
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        codes[i] = lt_codes_of(team, i);
    }
}

/* Leaves the greatest magnitude of these. */
void lt_leave_staged_tops(const lt_team *team) {
    lt_codes codes[LT_VECTORS];
    lt_load_staged(team, codes);
    lt_leave_tops(team, codes);
}

#endif

#if LT_STAGES

/* Finds what statistics are made of from codes in local memory. Barriers before and after it. */
void lt_find_stats(const lt_team *team, const lathe_launch *launch, bool is_whole) {
#if LT_COUNTS
    if (is_whole || lt_is_long(team->scope_elems)) {
        lt_count_long(team->block.n_cols, team->member, team->staged, team->shared);
    }
#elif LT_IS_MEAN
    lt_sum_scopes(team->block.n_cols, team->scope_elems, team->member, team->staged, team->maps,
                  lt_opaque(LT_BIASED, launch), (__local float4 *)team->shared, is_whole);
#else
    if (is_whole || !lt_is_few(team->scope_elems)) {
        lt_codes codes[LT_VECTORS];
        lt_load_staged(team, codes);
        lt_gather_tops(team, launch, codes);
    }
#endif
}

#endif

/* The statistic of a scope of a team's part, by one work-item. */
float lt_scope_stat(uint team, uint scope, uint n_elems, float scale, const lathe_launch *launch,
                    __local const lt_recode_memory *memory, bool is_whole) {
    const uint scope_elems = (uint)launch->scope_elems;
#if LT_COUNTS
    if (!is_whole && !lt_is_long(scope_elems)) {
        return lt_sum_short((__local const uint *)memory->codes[team] +
                                lt_padded_word(scope * scope_elems / 16),
                            n_elems, scale);
    }
    return lt_fold_scope_lanes(0, scope_elems,
                               (__local const float4 *)memory->shared[team] + LT_TEAM, is_whole);
#elif LT_IS_MEAN && LT_STAGES
    if (!is_whole && lt_is_few(scope_elems)) {
        return lt_sum_few((__local const uint *)memory->codes[team] +
                              lt_padded_word(scope * scope_elems * LT_SRC_BITS / 32),
                          n_elems, scale, lt_opaque(LT_BIASED, launch));
    }
    return lt_fold_scope_lanes(scope, scope_elems, (__local const float4 *)memory->shared[team],
                               is_whole);
#elif LT_IS_MEAN
    /* All lanes are the same: folding doubles them. */
    return lt_repeated(scale, n_elems / LATHE_STAT_LANES) * LATHE_STAT_LANES;
#elif LT_SRC == LATHE_CL_I1
    return scale;
#else
    uint top = memory->maps[team][scope].first;
#if LT_STAGES
    if (!is_whole && lt_is_few(scope_elems)) {
        /* Scopes of 96 elements have padding inside. */
        __local const uint *words = (__local const uint *)memory->codes[team];
        const uint first = scope * scope_elems / 16;
        for (uint i = 0; i < n_elems / 16; i++) {
            const uint word = words[lt_padded_word(first + i)];
            top |= lt_words_top(&word, 1);
        }
    }
#endif
    return lt_greatest_code(top) * scale;
#endif
}

/* Makes the maps of a work-item's scopes. */
void lt_make_maps(const lt_owned *own, const lathe_launch *launch, __global float *dst_scales,
                  __local lt_recode_memory *memory, lt_known known) {
    const bool is_whole = known.is_whole;
    const bool is_own = (launch->flags & LATHE_CL_OWN_SCALES) != 0;
    const bool is_regular = lt_is_regular(launch, known);
    const uint scope_elems = (uint)launch->scope_elems;
    const uint begin = (uint)launch->dst.first_col + own->part.col;
    for (uint scope = own->first; scope * scope_elems < own->part.n_cols;
         scope += is_whole ? LT_TEAM_SCOPES : LT_TEAM) {
        const uint col = scope * scope_elems;
        const lt_spot to = {own->part.row, begin + col};
        __local lt_map *map = &memory->maps[own->team][scope];
        const float scale = map->scale;
        float target = 0;
        if (is_own) {
            const uint n_elems = min(scope_elems, own->part.n_cols - col);
            const float stat =
                lt_scope_stat(own->team, scope, n_elems, scale, launch, memory, is_whole);
            target = lt_plain_target(stat, n_elems);
        }
        __global float *target_at =
            dst_scales + lt_scope_scale(&launch->dst, to, scope, is_regular);
        float inverse;
        if (is_own) {
            inverse = lt_plain_inverse(target);
            *target_at = target;
        } else {
            target = *target_at;
            inverse = lt_scale_of(target).inverse;
        }
#if LT_DST != LATHE_CL_I1
        *map = lt_map_of(scale, inverse, is_own);
#endif
    }
}

#if !LT_PACKS_DIGITS

/* Makes the target's codes, and stores them where whole bytes are made of them. */
void lt_recode_part(const lt_team *team, const lathe_launch *launch, __global uchar *to) {
    __global uchar *mine = to + team->member * (LT_VECTOR * LT_DST_BITS / 8);
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        const uint vector = i * team->n_members + team->member;
        const uint col = vector * LT_VECTOR;
        if (col < team->block.n_cols) {
            const uint scope = team->is_whole ? 0 : lt_div_32(col, &launch->row_scopes);
            const lt_map map = team->maps[scope];
            const lt_codes codes = lt_codes_of(team, i);
            uint made[LT_DST_WORDS];
            lt_recode(made, codes.words, map);
#if LT_DST == LATHE_CL_BITNET158
            lt_put_words((__local uint *)team->shared + vector * LT_DST_WORDS, made);
#else
            lt_store_codes(mine + i * team->n_members * (LT_VECTOR * LT_DST_BITS / 8), made);
#endif
        }
    }
}

#endif

void lt_recode_group(__global const uchar *restrict src, __global const float *restrict src_scales,
                     __global uchar *restrict dst, __global float *dst_scales,
                     __global uint *reports, const lathe_launch *launch,
                     __local lt_recode_memory *memory, lt_known known) {
    const bool is_whole = known.is_whole;
    const uint item = (uint)get_local_id(0);
    const uint group = (uint)get_group_id(0);
    __global uint *report = reports + launch->report * LATHE_CL_REPORT_WORDS;

    if (item == 0) {
        memory->is_odd = 0;
    }
#if LT_GATHERS
    const uint n_scopes = is_whole ? 1 : LT_TEAM_SCOPES; /* of a team */
    for (uint i = item; i < LT_TEAMS * n_scopes; i += LT_GROUP) {
        memory->maps[i / n_scopes][i % n_scopes].first = 0;
    }
#endif
    lt_team team = lt_team_of(launch, group, item, memory, known);
    lt_load_part(&team, launch, src, lt_is_regular(launch, known));
    const lt_owned own = lt_owned_by(launch, src_scales, group, item, known);
    __global uchar *to = lt_block_out(dst, &team.block, launch, 0, 0);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_prepare_scopes(&own, &team, launch, memory, is_whole);
#if LT_GATHERS && !LT_STAGES
    lt_gather_tops(&team, launch, team.codes);
#else
    lt_stage_part(&team, &memory->is_odd, report);
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    if (memory->is_odd != 0) {
        if (item == 0) {
            report[1] = 1;
        }
        return;
    }
#if LT_DST == LATHE_CL_I1
    /* Bits are signs, whatever the scale, and codes in registers are done with. */
    lt_recode_part(&team, launch, to);
#endif
#if LT_STAGES
    if ((launch->flags & LATHE_CL_OWN_SCALES) != 0) {
        lt_find_stats(&team, launch, is_whole);
        barrier(CLK_LOCAL_MEM_FENCE);
#if LT_COUNTS
        if (is_whole || lt_is_long(team.scope_elems)) {
            lt_sum_long(team.member, (__local const uint *)team.shared,
                        memory->steps[item / LT_TEAM], (__local float *)(team.shared + LT_TEAM));
        }
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
    }
#endif
    lt_make_maps(&own, launch, dst_scales, memory, known);
#if LT_DST != LATHE_CL_I1
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
#if LT_DST != LATHE_CL_I1 && !LT_PACKS_DIGITS
    lt_recode_part(&team, launch, to);
#endif
#if LT_DST == LATHE_CL_BITNET158
#if !LT_PACKS_DIGITS
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    lt_pack_part(&team, launch);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_packed(&team, to);
#endif
}

#define LT_RECODE_KERNEL(name, is_regular, is_whole)                                               \
    __kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void name(                      \
        __global const uchar *restrict src, __global const float *restrict src_scales,             \
        __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,          \
        lathe_launch launch) {                                                                     \
        __local lt_recode_memory memory;                                                           \
        const lt_known known = {is_regular, is_whole};                                             \
        lt_recode_group(src, src_scales, dst, dst_scales, reports, &launch, &memory, known);       \
    }

LT_RECODE_KERNEL(lathe_recode_parts, false, false)

/* The same of REGULAR launches. */
LT_RECODE_KERNEL(lathe_recode_regular, true, false)

/* The same of parts that are a row and a scope each, REGULAR and not short. From I4 and I2 to I1 it
 * is a little slower on an H200 if it knows that. */
LT_RECODE_KERNEL(lathe_recode_whole,
                 LT_DST != LATHE_CL_I1 || (LT_SRC != LATHE_CL_I4 && LT_SRC != LATHE_CL_I2), true)

/* Whether the recode kernel has left a work-group's parts to the other. */
bool lt_is_odd(const lathe_launch *launch, __global const uchar *src,
               __global const float *src_scales, uint group, uint item, __local uint *is_odd) {
    const bool is_regular = (launch->flags & LATHE_CL_REGULAR) != 0;
    const uint scope_elems = (uint)launch->scope_elems;
    for (uint i = 0; i < LT_TEAMS; i++) {
        const lt_block part = lt_part_at(launch, group * LT_TEAMS + i, is_regular);
        for (uint col = item * scope_elems; col < part.n_cols; col += LT_GROUP * scope_elems) {
            const lt_spot spot = lt_part_spot(launch, &part, col, is_regular);
            if (!lt_is_plain(lt_source_scale(&launch->src, src_scales, spot))) {
                *is_odd = 1;
            }
        }
#if LT_SRC == LATHE_CL_I2 && LT_STAGES
        __global const uchar *from = lt_part_from(launch, src, &part, is_regular);
        for (uint at = item; at < part.n_cols / 4; at += LT_GROUP) {
            if ((from[at] & ~((uint)from[at] << 1) & 0xaa) != 0) {
                *is_odd = 1;
            }
        }
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return *is_odd != 0;
}

/* Columns of a part that are a block. */
uint lt_block_step(uint n_cols, uint scope_elems) {
    if (n_cols <= LATHE_CL_BLOCK_ELEMS) {
        return n_cols;
    }
    return scope_elems < LATHE_CL_BLOCK_ELEMS ? LATHE_CL_BLOCK_ELEMS / scope_elems * scope_elems
                                              : LATHE_CL_BLOCK_ELEMS;
}

/* What the recode kernel, whose work-groups this one goes through, has left, by the block kernel's
 * functions. Apart, because those want twice the registers. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_recode_odd(__global const uchar *restrict src, __global const float *restrict src_scales,
                 __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
                 lathe_launch launch) {
    __local lt_memory memory;
    __local uint is_odd;
    const uint item = (uint)get_local_id(0);
    const bool is_regular = (launch.flags & LATHE_CL_REGULAR) != 0;
    const uint n_groups = ((uint)launch.n_units + LT_TEAMS - 1) / LT_TEAMS;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    const uint first = report[1] != 0 ? (uint)get_group_id(0) : n_groups;
    for (uint group = first; group < n_groups; group += (uint)get_num_groups(0)) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item == 0) {
            is_odd = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        const bool is_mine = lt_is_odd(&launch, src, src_scales, group, item, &is_odd);
        for (uint i = 0; is_mine && i < LT_TEAMS; i++) {
            const lt_block part = lt_part_at(&launch, group * LT_TEAMS + i, is_regular);
            const uint step = lt_block_step(part.n_cols, (uint)launch.scope_elems);
            for (uint col = 0; col < part.n_cols; col += step) {
                lt_block block = part;
                block.col += col;
                block.elem += col;
                block.n_cols = min(step, part.n_cols - col);
                block.n_elems = block.n_cols;
                block.row_parts = (block.n_cols + LT_WIDTH - 1) / LT_WIDTH;
                lt_any_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory,
                             report);
                barrier(CLK_LOCAL_MEM_FENCE);
#if LT_DST == LATHE_CL_BITNET158
                lt_store_block_trits(&block, dst, &launch, item, &memory);
                barrier(CLK_LOCAL_MEM_FENCE);
#endif
            }
        }
    }
}

#endif
