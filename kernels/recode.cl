/* SPDX-License-Identifier: Apache-2.0 */
/* The recode kernels: conversions between quantized types whose scopes have one source scale each.
 * What is odd (a scale that is not plain, an I2 of -2 in a sum) is left to the block kernel's
 * functions, in a kernel that follows. */
#include "recode_tiles.cl"

#if LT_HAS_RECODE

/* What a team holds between the steps. */
typedef struct lt_team {
    lt_block block;
    uint scope_elems; /* elements with one map */
    uint member;      /* work-item of the team */
    uint team;
    __global const uchar *from;
    lt_codes codes[LT_VECTORS];
} lt_team;

lt_block lt_part_at(const lathe_launch *launch, uint index) {
    lt_block part = {0, 0, 0, 0, 0, 0, 0};
    return index < (uint)launch->n_units ? lt_block_of(launch, index) : part;
}

__global const uchar *lt_part_from(const lathe_launch *launch, __global const uchar *src,
                                   uint elem) {
    const lt_spot spot = lt_spot_of(&launch->src, elem);
    return src + lt_row_offset(&launch->src, spot.row) + lt_source_byte(spot.col);
}

/* Reads the team's part, once. BITNET158: the table is filled. */
void lt_read_part(lt_team *team, __local lt_recode_memory *memory, __global uint *report) {
#if LT_SRC == LATHE_CL_BITNET158
    lt_unpack_part(&team->block, team->from, team->member, memory->table,
                   (__local uint *)memory->codes[team->team], report);
#else
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        const uint vector = i * LT_TEAM + team->member;
        if (vector * LT_VECTOR < team->block.n_cols) {
            team->codes[i] = lt_load_codes(team->from + vector * (LT_VECTOR * LT_SRC_BITS / 8));
        } else {
            team->codes[i] = lt_no_codes();
        }
    }
#if LT_STAGES
    /* Zeros behind the part's end are added to sums like the rest. */
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        const uint vector = i * LT_TEAM + team->member;
        lt_stage_codes((__local uint *)memory->codes[team->team], vector, team->codes[i]);
#if LT_SRC == LATHE_CL_I2
        uint twos = 0;
        for (uint k = 0; k < LT_SRC_WORDS; k++) {
            twos |= team->codes[i].words[k] & ~(team->codes[i].words[k] << 1) & 0xaaaaaaaa;
        }
        if (twos != 0) {
            memory->is_odd = 1;
        }
#endif
    }
#endif
#endif
}

/* Looks up the source's scale of each scope, leaves it in the maps, which for I1 is all of them,
 * and looks whether it is plain. */
void lt_read_scales(const lt_team *team, __global const float *src_scales,
                    const lathe_launch *launch, __local lt_recode_memory *memory) {
    for (uint i = team->member; i * team->scope_elems < team->block.n_cols; i += LT_TEAM) {
        const lt_spot spot = lt_spot_of(&launch->src, team->block.elem + i * team->scope_elems);
        const float scale = lt_source_scale(&launch->src, src_scales, spot);
#if LT_DST == LATHE_CL_I1
        memory->maps[team->team][i] = lt_map_of(scale, 0);
#else
        memory->maps[team->team][i].scale = scale;
#endif
        if (!lt_is_plain(scale)) {
            memory->is_odd = 1;
        }
    }
}

#if LT_COUNTS

/* The sums of lanes of the teams' long scopes, one of which there is in a part: the teams' by
 * work-items that follow each other. */
void lt_prepare_steps(const lathe_launch *launch, __global const float *src_scales, uint group,
                      uint item, __local lt_recode_memory *memory) {
    if (item < LT_TEAMS && lt_is_long((uint)launch->scope_elems)) {
        const lt_block part = lt_part_at(launch, group * LT_TEAMS + item);
        const lt_spot spot = lt_spot_of(&launch->src, part.elem);
        if (part.n_cols > 0) {
            lt_fill_steps(memory->steps[item], LT_TEAM_ELEMS / LATHE_STAT_LANES,
                          lt_source_scale(&launch->src, src_scales, spot));
        }
    }
}

#endif

/* Finds what the scopes' statistics are made of. Barriers before and after it. */
void lt_find_stats(const lt_team *team, const lathe_launch *launch,
                   __local lt_recode_memory *memory) {
    const uint n_cols = team->block.n_cols;
    __local uint4 *shared = memory->shared[team->team];
#if LT_COUNTS
    if (lt_is_long(team->scope_elems)) {
        lt_count_long(n_cols, team->member, (__local const uint *)memory->codes[team->team],
                      shared);
    }
#elif LT_IS_MEAN && LT_STAGES
    lt_sum_scopes(n_cols, team->scope_elems, team->member,
                  (__local const uint *)memory->codes[team->team], memory->maps[team->team],
                  lt_opaque(LT_BIASED, launch), (__local float4 *)shared);
#elif !LT_IS_MEAN && LT_SRC != LATHE_CL_I1
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        const uint vector = i * LT_TEAM + team->member;
        if (vector * LT_VECTOR < n_cols) {
#if LT_SRC == LATHE_CL_BITNET158
            const lt_codes codes =
                lt_staged_codes((__local const uint *)memory->codes[team->team], vector);
            ((__local uint *)shared)[vector] = lt_words_top(codes.words, LT_SRC_WORDS);
#else
            ((__local uint *)shared)[vector] = lt_words_top(team->codes[i].words, LT_SRC_WORDS);
#endif
        }
    }
#endif
}

/* Long scopes' greatest magnitudes are joined eight at a time first. */
#define LT_JOINED 8

bool lt_joins_twice(uint scope_elems) {
    return scope_elems % (LT_JOINED * LT_VECTOR) == 0 && scope_elems > LT_JOINED * LT_VECTOR;
}

/* A barrier is before it, and one after it. */
void lt_join_stats(const lt_team *team, __local lt_recode_memory *memory) {
#if LT_COUNTS
    if (lt_is_long(team->scope_elems)) {
        __local uint *words = (__local uint *)memory->shared[team->team];
        lt_sum_long(team->member, words, memory->steps[team->team],
                    (__local float *)(words + 4 * LT_TEAM));
    }
#elif !LT_IS_MEAN && LT_SRC != LATHE_CL_I1
    __local uint *tops = (__local uint *)memory->shared[team->team];
    const uint n = (team->block.n_cols + LT_VECTOR - 1) / LT_VECTOR;
    const uint first = team->member * LT_JOINED;
    if (lt_joins_twice(team->scope_elems) && first < n) {
        tops[first] = lt_join_tops(tops + first, min(n - first, (uint)LT_JOINED));
    }
#endif
}

/* A scope's statistic, by one work-item. */
float lt_scope_stat(uint n_elems, uint scope, uint scope_elems, uint team, float scale,
                    __local const lt_recode_memory *memory) {
#if LT_COUNTS
    if (!lt_is_long(scope_elems)) {
        return lt_sum_short((__local const uint *)memory->codes[team] +
                                lt_padded_word(scope * scope_elems / 16),
                            n_elems, scale);
    }
    return lt_fold_scope_lanes(0, scope_elems,
                               (__local const float4 *)memory->shared[team] + LT_TEAM);
#elif LT_IS_MEAN && LT_STAGES
    return lt_fold_scope_lanes(scope, scope_elems, (__local const float4 *)memory->shared[team]);
#elif LT_IS_MEAN
    /* All lanes are the same: folding doubles them. */
    return lt_repeated(scale, n_elems / LATHE_STAT_LANES) * LATHE_STAT_LANES;
#elif LT_SRC == LATHE_CL_I1
    return scale;
#else
    __local const uint *tops = (__local const uint *)memory->shared[team];
    const uint first = scope * (scope_elems / LT_VECTOR);
    const uint end = first + (n_elems + LT_VECTOR - 1) / LT_VECTOR;
    const uint step = lt_joins_twice(scope_elems) ? LT_JOINED : 1;
    uint top = tops[first];
    for (uint i = first + step; i < end; i += step) {
        top = lt_top_join(top, tops[i]);
    }
    return lt_greatest_code(top) * scale;
#endif
}

/* Makes the maps of a work-group's scopes: work-items that follow each other take those of
 * different teams. */
void lt_make_maps(const lathe_launch *launch, uint group, uint item, uint scope_elems,
                  __global float *dst_scales, __local lt_recode_memory *memory) {
    for (uint i = item; i < LT_TEAMS * LT_TEAM_SCOPES; i += LT_GROUP) {
        const uint team = i % LT_TEAMS;
        const uint scope = i / LT_TEAMS;
        const lt_block part = lt_part_at(launch, group * LT_TEAMS + team);
        const uint col = scope * scope_elems;
        if (col < part.n_cols) {
            const uint n_elems = min(scope_elems, part.n_cols - col);
            const lt_spot spot = {part.row, (uint)launch->dst.first_col + part.col + col};
            const ulong index = lt_scale_index(&launch->dst, spot);
            const float source = memory->maps[team][scope].scale;
            float target;
            if ((launch->flags & LATHE_CL_OWN_SCALES) != 0) {
                const float stat = lt_scope_stat(n_elems, scope, scope_elems, team, source, memory);
                target = lt_scale_from_stat(as_uint(stat), n_elems, false);
                dst_scales[index] = target;
            } else {
                target = dst_scales[index];
            }
#if LT_DST != LATHE_CL_I1
            memory->maps[team][scope] = lt_map_of(source, lt_scale_of(target).inverse);
#endif
        }
    }
}

/* Makes the target's codes, and stores them where whole bytes are made of them. */
void lt_recode_part(lt_team *team, const lathe_launch *launch, __global uchar *to,
                    __local lt_recode_memory *memory) {
#pragma unroll
    for (uint i = 0; i < LT_VECTORS; i++) {
        const uint vector = i * LT_TEAM + team->member;
        const uint col = vector * LT_VECTOR;
        if (col < team->block.n_cols) {
            uint made[LT_DST_WORDS];
            const lt_map map = memory->maps[team->team][lt_div_32(col, &launch->row_scopes)];
#if LT_SRC == LATHE_CL_BITNET158
            const lt_codes codes =
                lt_staged_codes((__local const uint *)memory->codes[team->team], vector);
            lt_recode(made, codes.words, map);
#else
            lt_recode(made, team->codes[i].words, map);
#endif
#if LT_DST == LATHE_CL_BITNET158
            __local uint *words = (__local uint *)memory->shared[team->team];
#pragma unroll
            for (uint k = 0; k < LT_DST_WORDS; k++) {
                words[vector * LT_DST_WORDS + k] = made[k];
            }
#else
            lt_store_codes(to + vector * (LT_VECTOR * LT_DST_BITS / 8), made);
#endif
        }
    }
}

lt_team lt_team_of(const lathe_launch *launch, lt_block part, uint item,
                   __global const uchar *src) {
    lt_team team;
    team.block = part;
    team.member = item % LT_TEAM;
    team.team = item / LT_TEAM;
    team.from = lt_part_from(launch, src, part.elem);
    return team;
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_recode_parts(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
                   lathe_launch launch) {
    __local lt_recode_memory memory_of_group;
    __local lt_recode_memory *memory = &memory_of_group;
    const uint item = (uint)get_local_id(0);
    const uint group = (uint)get_group_id(0);
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    lt_team team =
        lt_team_of(&launch, lt_part_at(&launch, group * LT_TEAMS + item / LT_TEAM), item, src);
    __global uchar *to = lt_block_out(dst, &team.block, &launch, 0, 0);

    team.scope_elems = (uint)launch.scope_elems;
    if (item == 0) {
        memory->is_odd = 0;
    }
#if LT_SRC == LATHE_CL_BITNET158
    lt_fill_codes(memory->table, item);
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_read_part(&team, memory, report);
    lt_read_scales(&team, src_scales, &launch, memory);
#if LT_COUNTS
    lt_prepare_steps(&launch, src_scales, group, item, memory);
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
    if (memory->is_odd != 0) {
        if (item == 0) {
            report[1] = 1;
        }
    } else {
#if LT_DST == LATHE_CL_I1
        /* Bits are signs, whatever the scale, and codes in registers are done with. */
        lt_recode_part(&team, &launch, to, memory);
#endif
        if ((launch.flags & LATHE_CL_OWN_SCALES) != 0) {
            lt_find_stats(&team, &launch, memory);
            barrier(CLK_LOCAL_MEM_FENCE);
            lt_join_stats(&team, memory);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        lt_make_maps(&launch, group, item, team.scope_elems, dst_scales, memory);
#if LT_DST != LATHE_CL_I1
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_recode_part(&team, &launch, to, memory);
#endif
#if LT_DST == LATHE_CL_BITNET158
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_pack_part(&team.block, to, team.member, (__local const uint *)memory->shared[team.team]);
#endif
    }
}

/* Whether the recode kernel has left a work-group's parts to the other. */
bool lt_is_odd(const lathe_launch *launch, __global const uchar *src,
               __global const float *src_scales, uint group, uint item, __local uint *is_odd) {
    const uint scope_elems = (uint)launch->scope_elems;
    for (uint i = 0; i < LT_TEAMS; i++) {
        const lt_block part = lt_part_at(launch, group * LT_TEAMS + i);
        for (uint col = item * scope_elems; col < part.n_cols; col += LT_GROUP * scope_elems) {
            const lt_spot spot = lt_spot_of(&launch->src, part.elem + col);
            if (!lt_is_plain(lt_source_scale(&launch->src, src_scales, spot))) {
                *is_odd = 1;
            }
        }
#if LT_SRC == LATHE_CL_I2 && LT_STAGES
        __global const uchar *from = lt_part_from(launch, src, part.elem);
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
            const lt_block part = lt_part_at(&launch, group * LT_TEAMS + i);
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
