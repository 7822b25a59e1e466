/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE scales of scopes of few elements: a team of work-items finds the standard scale and
 * searches. Only programs with LT_SEARCH. */
#include "choice.cl"

#ifdef LT_SEARCH

/* A work-group's, and of how many elements a work-item has the statistics at once: a canonical
 * lane each. */
#define LT_FEW_ITEMS LATHE_CL_FEW_ITEMS
#define LT_FEW_LANES 8

typedef struct lt_few_memory {
    ulong products[LT_FEW_ITEMS];
    ulong squares[LT_FEW_ITEMS];
    lt_tried tried[LT_FEW_ITEMS];
    lt_tried best[LT_FEW_ITEMS];
    uint is_last[LT_FEW_ITEMS];
    uint is_walking[LT_FEW_ITEMS];
    uint is_any;
} lt_few_memory;

/* A scope. */
typedef struct lt_few {
    __global const uchar *src;
    __global const float *src_scales;
    const lathe_launch *launch;
    const lathe_search *search;
    lt_tile tile;
    bool is_vector;
} lt_few;

/* Four of the scope's elements; 0 where it has none. */
float4 lt_few_four(const lt_few *few, uint at) {
    const uint left = few->tile.n_elems - min(at, few->tile.n_elems);
    return lt_values_at(&few->launch->src, (uint)few->search->src_dtype, few->src, few->src_scales,
                        few->tile.elem + at, left, few->is_vector);
}

uint8 lt_join8(uint8 a, uint8 b, bool is_mean) {
    return is_mean ? as_uint8(as_float8(a) + as_float8(b)) : max(a, b);
}

/* Four elements' shares of the statistic, of which there are n_elems. */
uint4 lt_few_shares(const lt_few *few, uint at, uint attempt, __global uint *report) {
    const uint n_elems = few->tile.n_elems - min(at, few->tile.n_elems);
    const float4 x = lt_few_four(few, at);
    const ulong flags = few->launch->flags;
    const uint elem = few->tile.elem + at;
    if (attempt == LT_AS_IS) {
        return as_uint4(x) & LT_MAGNITUDE;
    }
    return (uint4)(n_elems > 0 ? lt_share(x.x, attempt, elem, flags, report) : 0,
                   n_elems > 1 ? lt_share(x.y, attempt, elem + 1, flags, report) : 0,
                   n_elems > 2 ? lt_share(x.z, attempt, elem + 2, flags, report) : 0,
                   n_elems > 3 ? lt_share(x.w, attempt, elem + 3, flags, report) : 0);
}

/* The statistics of canonical lanes 8 block to 8 block + 7. */
uint8 lt_few_block(const lt_few *few, uint block, uint attempt, __global uint *report) {
    const bool is_mean = few->search->is_mean != 0;
    uint8 stats = (uint8)(0);
    for (uint at = LT_FEW_LANES * block; at < few->tile.n_elems; at += LATHE_STAT_LANES) {
        const uint8 shares = (uint8)(lt_few_shares(few, at, attempt, report),
                                     lt_few_shares(few, at + 4, attempt, report));
        stats = lt_join8(stats, shares, is_mean);
    }
    return stats;
}

/* A work-item's blocks of lanes, folded by halves: with a team of n, blocks lane, lane + n, ... In
 * the order of their reversed bits neighbours are what is folded first. */
uint8 lt_few_share(const lt_few *few, lt_place place, uint attempt, __global uint *report) {
    const bool is_mean = few->search->is_mean != 0;
    uint8 one = (uint8)(0);
    uint8 two = (uint8)(0);
    uint8 four = (uint8)(0);
    uint8 stats = (uint8)(0);
    for (uint i = 0; i < LT_FEW_LANES / place.n_lanes; i++) {
        const uint block = place.lane + (i & 1) * 4 + (i & 2) + (i >> 2);
        stats = lt_few_block(few, block, attempt, report);
        if ((i & 1) == 0) {
            one = stats;
            continue;
        }
        stats = lt_join8(one, stats, is_mean);
        if ((i & 2) == 0) {
            two = stats;
            continue;
        }
        stats = lt_join8(two, stats, is_mean);
        if ((i & 4) == 0) {
            four = stats;
            continue;
        }
        stats = lt_join8(four, stats, is_mean);
    }
    return stats;
}

/* Folds the shares of a team, whose work-items all get the statistic. */
uint lt_few_fold(uint8 share, bool is_mean, lt_place place, __local uint *lanes) {
    vstore8(share, place.item, lanes);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint apart = place.n_lanes / 2; apart > 0; apart /= 2) {
        if (place.lane < apart) {
            const uint8 a = vload8(place.item, lanes);
            const uint8 b = vload8(place.item + apart, lanes);
            vstore8(lt_join8(a, b, is_mean), place.item, lanes);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const uint8 all = vload8(place.item - place.lane, lanes);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (!is_mean) {
        const uint4 a = max(all.lo, all.hi);
        const uint2 b = max(a.lo, a.hi);
        return max(b.x, b.y);
    }
    const float4 a = as_float4(all.lo) + as_float4(all.hi);
    const float2 b = a.lo + a.hi;
    return as_uint(b.x + b.y);
}

float lt_few_scale(uint stat, uint n_elems, bool is_shrunk, const lathe_search *search) {
    if (search->is_mean == 0) {
        return lt_divide(as_float(stat), (float)search->high_code);
    }
    float mean = lt_divide(as_float(stat), (float)n_elems);
    if (is_shrunk) {
        mean = as_float(min(as_uint(mean * 0x1p16f), LT_INFINITY - 1));
    }
    return mean > LATHE_BITNET158_MIN_SCALE ? mean : LATHE_BITNET158_MIN_SCALE;
}

/* The team's standard scale, and its statistic: the sum, or the greatest finite magnitude. */
float2 lt_few_standard(const lt_few *few, lt_place place, const lt_shared *shared,
                       __local uint *lanes, __global uint *report) {
    const bool is_mean = few->search->is_mean != 0;
    float2 found = (float2)(0);
    bool is_found = few->tile.n_elems == 0;
    bool again = true;
    for (uint attempt = LT_AS_IS; again; attempt++) {
        uint8 share = (uint8)(0);
        if (!is_found) {
            share = lt_few_share(few, place, attempt, report);
        }
        const uint stat = lt_few_fold(share, is_mean, place, lanes);
        if (!is_found) {
            is_found = lt_is_finite(stat);
            found.x = lt_few_scale(is_found ? stat : 0, few->tile.n_elems, attempt == LT_SHRUNK,
                                   few->search);
            found.y = as_float(stat);
        }
        again = lt_any(shared, place.item, !is_found);
    }
    return found;
}

float4 lt_finite4(float4 x) {
    return select((float4)(0), x, fabs(x) <= FLT_MAX);
}

/* The greatest finite magnitude of the team's scope. */
float lt_few_greatest(const lt_few *few, lt_place place, __local uint *lanes) {
    float4 most = (float4)(0);
    for (uint at = 4 * place.lane; at < few->tile.n_elems; at += 4 * place.n_lanes) {
        most = fmax(most, fabs(lt_finite4(lt_few_four(few, at))));
    }
    const uint8 share = (uint8)(as_uint4(most), (uint4)(0));
    return as_float(lt_few_fold(share, false, place, lanes));
}

/* Makes the work-item's fours of levels. */
void lt_few_levels(const lt_few *few, lt_place place, float factor, __local uint2 *levels,
                   uint n_fours, uint stride) {
    for (uint i = place.lane; i < n_fours; i += place.n_lanes) {
        const float4 x = lt_finite4(lt_few_four(few, 4 * i)) * factor;
        const uint4 bits = as_uint4(x + 0x1.8p23f); /* their low halves are the nearest */
        levels[i * stride] =
            (uint2)((bits.x & 0xffff) | bits.y << 16, (bits.z & 0xffff) | bits.w << 16);
    }
}

__kernel __attribute__((reqd_work_group_size(LT_FEW_ITEMS, 1, 1))) void
lathe_search_few(__global const uchar *restrict src, __global const float *restrict src_scales,
                 __global float *restrict scales, __global uint *reports, lathe_launch launch,
                 lathe_search search, __local uint2 *levels) {
    __local lt_few_memory memory;
    const lt_shared shared = {memory.products, memory.squares,    memory.tried,  memory.is_last,
                              memory.best,     memory.is_walking, &memory.is_any};
    const uint item = (uint)get_local_id(0);
    const uint n_lanes = (uint)search.team;
    const lt_place place = {item, item / n_lanes, item % n_lanes, n_lanes, 1};
    const uint n_teams = LT_FEW_ITEMS / n_lanes;
    const uint scope = (uint)get_group_id(0) * n_teams + place.team;
    lt_few few = {src, src_scales, &launch, &search, {0, 0}, false};
    few.is_vector = (launch.flags & LATHE_CL_SRC_VECTOR) != 0;
    if (scope < search.n_scopes) {
        few.tile = lt_tile_of(&launch, scope * (uint)launch.tiles_per_scope.by);
    }
    if (few.tile.n_elems > LATHE_PRECISE_ELEMS) {
        few.tile.n_elems = 0; /* a longer scope */
    }
    const uint n_elems = few.tile.n_elems;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;

    const float2 standard = lt_few_standard(&few, place, &shared, (__local uint *)levels, report);
    const float scale = standard.x;
    float greatest = standard.y;
    if (search.is_mean != 0) {
        greatest = lt_few_greatest(&few, place, (__local uint *)levels);
    }
    const float inverse = lt_standard_inverse(scale);
    const bool is_on =
        n_elems > 0 && inverse != 0 && lt_octave(greatest) >= LATHE_PRECISE_LEAST_OCTAVE;
    const float factor = is_on ? lt_divide_any((float)LATHE_PRECISE_TOP_LEVEL, greatest) : 1;
    const uint n_fours = is_on ? (n_elems + 3) / 4 : 0;
    lt_few_levels(&few, place, factor, levels + place.team, n_fours, n_teams);
    barrier(CLK_LOCAL_MEM_FENCE);

    const int high = (int)search.high_code;
    const lt_space space = {.is_few = true,
                            .low = -high - (int)search.extra_codes,
                            .high = high,
                            .n_elems = lt_d_of_whole(n_elems),
                            .greatest = lt_d_of_whole(LATHE_PRECISE_TOP_LEVEL),
                            .levels = levels + place.team,
                            .n_fours = n_fours,
                            .stride = n_teams};
    const ulong found = lt_search(&space, &shared, place, is_on);
    const float2 other = lt_other_scale(lt_d_mul(found, lt_d_div(LT_D_ONE, lt_d_of_float(factor))));
    const float unit = is_on ? lt_unit_factor(lt_octave(greatest)) : 1;

    const lt_fits fits =
        lt_fits_of(src, src_scales, &launch, &search, few.tile.elem, other.x != 0 ? n_elems : 0,
                   place.lane, n_lanes, inverse, other.y, unit);
    const lt_both both = lt_join_both(&shared, item, n_lanes, lt_both_of(fits));
    if (place.lane == 0 && n_elems > 0) {
        scales[search.first_scale + scope] =
            other.x == 0 ? scale : lt_chosen(&both, scale, unit, &search);
    }
}

#endif
