/* SPDX-License-Identifier: Apache-2.0 */
/* The recode_rows kernel: rows that are scopes of more than one tile, with one source scale each. A
 * work-group as large as the row wants is one team. What is odd is reported, as no kernel comes
 * behind this one. */
#include "doubles.cl"
#include "recode.cl"

#if LT_HAS_RECODE

/* The most tiles of a row, and work-items that fold what all have found. */
#define LT_TEAM_TILES (LATHE_CL_RECODE_ROW / LATHE_STAT_TILE)
#define LT_TEAM_FOLDERS 32

/* Words of a tile's codes in local memory, padding included. */
#define LT_TILE_WORDS (LATHE_STAT_TILE * LT_SRC_BITS / 32 / 32 * 36)

typedef struct lt_team_memory {
    lt_map maps[1]; /* an array, as mesa wants what is indexed to be one */
#if LT_IS_MEAN
#if LT_STAGES
    float4 lanes[LT_TEAM_TILES][LATHE_STAT_LANES / 4];
#endif
#if LT_COUNTS
    uint4 counts[LT_TEAM_TILES][LT_TEAM];
    float steps[LATHE_STAT_TILE / LATHE_STAT_LANES + 1];
#endif
    float sums[LT_TEAM_TILES];
#else
    uint4 tops[LT_TEAM_FOLDERS / 4];
#endif
    uint is_odd;
} lt_team_memory;

/* The team of a row. In `room`: codes, then what the target's are, or tops. */
lt_team lt_team_of_row(const lathe_launch *launch, uint row, uint n_items,
                       __local lt_team_memory *memory, __local uint4 *room) {
    lt_team team;
    team.member = (uint)get_local_id(0);
    team.n_members = n_items;
    team.block = lt_part_at(launch, row, false);
    team.scope_elems = team.block.n_cols;
    team.is_whole = true;
    team.maps = memory->maps;
    team.shared = room;
#if LT_STAGES
    team.staged = (__local uint *)room;
    team.shared += team.n_members * (LT_TEAM_ELEMS / LT_TEAM) * LT_SRC_BITS / 32 / 32 * 36 / 4;
#endif
#if LT_DST == LATHE_CL_BITNET158
    team.packed = LT_PACKS_DIGITS ? team.shared + 1
                  : LT_STAGES     ? room + 1
                                  : room + team.n_members * (LT_TEAM_ELEMS / LT_TEAM) / 64 + 1;
#endif
    return team;
}

#if LT_IS_MEAN

/* Leaves the sums of the row's tiles. Barriers before and after it. */
void lt_sum_row(const lt_team *team, float scale, const lathe_launch *launch,
                __local lt_team_memory *memory) {
    const uint n_cols = team->block.n_cols;
    const uint member = team->member;
#if LT_COUNTS
    /* A tile has the work-items of a team. */
    const uint index = member / LT_TEAM;
    if (index * LATHE_STAT_TILE < n_cols) {
        lt_count_long(min(n_cols - index * LATHE_STAT_TILE, (uint)LATHE_STAT_TILE),
                      member % LT_TEAM, team->staged + index * LT_TILE_WORDS,
                      memory->counts[index]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (index * LATHE_STAT_TILE < n_cols) {
        lt_sum_long(member % LT_TEAM, (__local const uint *)memory->counts[index], memory->steps,
                    (__local float *)memory->lanes[index]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#elif LT_STAGES
    const uint biased = lt_opaque(LT_BIASED, launch);
    for (uint task = member; task / 32 * LATHE_STAT_TILE < n_cols; task += team->n_members) {
        const uint begin = task / 32 * LATHE_STAT_TILE;
        ((__local float2 *)memory->lanes)[task] =
            lt_sum2(team->staged + task / 32 * LT_TILE_WORDS, task % 32,
                    min((uint)LATHE_STAT_TILE, n_cols - begin), scale, biased);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    if (member < LT_TEAM_TILES && member * LATHE_STAT_TILE < n_cols) {
#if LT_STAGES
        memory->sums[member] = lt_fold_64_lanes(memory->lanes[member]);
#else
        /* All lanes are the same: folding doubles them. */
        const uint n_elems = min((uint)LATHE_STAT_TILE, n_cols - member * LATHE_STAT_TILE);
        memory->sums[member] = lt_repeated(scale, n_elems / LATHE_STAT_LANES) * LATHE_STAT_LANES;
#endif
    }
}

#else

/* Folds what work-items have left of the greatest magnitude. Barriers before and after it. */
void lt_fold_tops(const lt_team *team, __local lt_team_memory *memory) {
#if LT_SRC != LATHE_CL_I1
    __local const uint *tops = (__local const uint *)team->shared;
    if (team->member < LT_TEAM_FOLDERS) {
        uint top = tops[team->member];
        for (uint i = team->member + LT_TEAM_FOLDERS; i < team->n_members; i += LT_TEAM_FOLDERS) {
            top = lt_top_join(top, tops[i]);
        }
        ((__local uint *)memory->tops)[team->member] = top;
    }
#endif
}

#endif

/* The row's scale, by one work-item. */
float lt_scale_of_team(const lt_team *team, float scale, __local const lt_team_memory *memory) {
    const uint n_cols = team->block.n_cols;
#if LT_IS_MEAN
    return lt_scale_of_tiles(memory->sums, (n_cols + LATHE_STAT_TILE - 1) / LATHE_STAT_TILE,
                             n_cols);
#elif LT_SRC == LATHE_CL_I1
    return lt_scale_from_stat(as_uint(scale), n_cols, false);
#else
    const uint top = lt_join_tops((__local const uint *)memory->tops, LT_TEAM_FOLDERS);
    return lt_scale_from_stat(as_uint(lt_greatest_code(top) * scale), n_cols, false);
#endif
}

/* `room`: see lt_team_of_row. */
void lt_recode_row(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
                   const lathe_launch *launch, uint n_items, __local lt_team_memory *memory,
                   __local uint4 *room) {
    const uint item = (uint)get_local_id(0);
    __global uint *report = reports + launch->report * LATHE_CL_REPORT_WORDS;
    lt_team team = lt_team_of_row(launch, (uint)get_group_id(0), n_items, memory, room);
    __global uchar *to = lt_block_out(dst, &team.block, launch, 0, 0);
    const lt_spot from = lt_spot_of(&launch->src, team.block.elem);
    const lt_spot at = {team.block.row, (uint)launch->dst.first_col};

    lt_load_part(&team, launch, src, false);
    const float scale = lt_source_scale(&launch->src, src_scales, from);
    if (item == 0) {
        memory->is_odd = lt_is_plain(scale) ? 0 : 1;
#if LT_DST == LATHE_CL_I1
        memory->maps[0] = lt_map_of(scale, 0, false);
#endif
#if LT_COUNTS
        lt_fill_steps(memory->steps, LATHE_STAT_TILE / LATHE_STAT_LANES, scale);
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_stage_part(&team, &memory->is_odd, report);
    barrier(CLK_LOCAL_MEM_FENCE);
#if LT_DST == LATHE_CL_I1
    /* Bits are signs, whatever the scale, and codes in registers are done with. */
    lt_recode_part(&team, launch, to);
#endif
#if LT_IS_MEAN
    lt_sum_row(&team, scale, launch, memory);
    barrier(CLK_LOCAL_MEM_FENCE);
#else
#if LT_STAGES
    lt_leave_staged_tops(&team);
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    lt_fold_tops(&team, memory);
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    if (item == 0) {
        const float target = lt_scale_of_team(&team, scale, memory);
        dst_scales[lt_scale_index(&launch->dst, at)] = target;
#if LT_DST != LATHE_CL_I1
        memory->maps[0] = lt_map_of(scale, lt_scale_of(target).inverse, true);
#endif
        if (memory->is_odd != 0) {
            report[1] = 1;
        }
    }
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

/* Compilers want to know the size of groups of more than LT_GROUP. */
#define LT_RECODE_ROWS_KERNEL(name, n_items, attribute)                                            \
    __kernel attribute void name(                                                                  \
        __global const uchar *restrict src, __global const float *restrict src_scales,             \
        __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,          \
        lathe_launch launch, __local uint4 *room) {                                                \
        __local lt_team_memory memory;                                                             \
        lt_recode_row(src, src_scales, dst, dst_scales, reports, &launch, n_items, &memory, room); \
    }

LT_RECODE_ROWS_KERNEL(lathe_recode_rows, (uint)get_local_size(0), )

#if LATHE_CL_RECODES_MANY(LT_SRC, LT_DST) && !defined LT_SMALL
LT_RECODE_ROWS_KERNEL(lathe_recode_many, LATHE_CL_ROW_MANY,
                      __attribute__((reqd_work_group_size(LATHE_CL_ROW_MANY, 1, 1))))
#endif

#endif
