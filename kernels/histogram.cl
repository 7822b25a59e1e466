/* SPDX-License-Identifier: Apache-2.0 */
/* The scales of PRECISE: the search of docs/numerics.md, as core/precise.c does it. Scopes of few
 * elements are searched by a team of work-items each, which finds the standard scale, too. Longer
 * ones take four kernels: histograms, the search in them, sums for the two scales, and the choice.
 * Only programs with LT_SEARCH have them. */
#include "values.cl"

#ifdef LT_SEARCH

__constant ulong lt_fractions[] = {LATHE_PRECISE_FRACTIONS};

#define LT_D_ONE 0x3ff0000000000000UL
#define LT_D_HALF 0x3fe0000000000000UL

float lt_search_element(__global const uchar *src, __global const float *scales,
                        const lathe_launch *launch, uint dtype, uint elem) {
    const lt_spot spot = lt_spot_of(&launch->src, elem);
    return lt_value(dtype, src + lt_row_offset(&launch->src, spot.row), spot.col,
                    lt_value_scale(&launch->src, dtype, scales, spot));
}

int lt_octave(float magnitude) {
    return (int)(as_uint(magnitude) >> 23) - 127;
}

/* What takes elements of an octave below 2^22. */
float lt_unit_factor(int octave) {
    return as_float((uint)(LATHE_PRECISE_UNIT_BITS - 1 - octave + 127) << 23);
}

/* The inverse of a scope's standard scale; 0: there is nothing to search. */
float lt_standard_inverse(float scale) {
    return lt_octave(scale) < LATHE_PRECISE_LEAST_OCTAVE ? 0 : lt_inverse(scale);
}

/* The nearest whole number, ties to even, for magnitudes below 2^22. */
int lt_nearest_int(float x) {
    return (int)(as_uint(x + 0x1.8p23f) - 0x4b400000u);
}

/* ---- candidates */

/* What candidates are tried on: the levels of few elements, or a histogram. */
typedef struct lt_space {
    bool is_few;
    bool is_signed;
    int low;
    int high;
    ulong n_elems;  /* a double */
    ulong greatest; /* likewise, a level */
    __local const short *levels;
    uint n_levels;
    __local const uint *counts;       /* of bins, by halves */
    __local const uint *block_counts; /* of each block's half: what comes after it */
    __local const ulong *block_sums;  /* the same of levels */
    uint n_bins;                      /* of a half */
    uint bits;                        /* bins of an octave, as a power of two */
} lt_space;

/* Bins of a block. */
#define LT_BLOCK_BINS 16

/* Sums of code times level and of codes squared. */
typedef struct lt_fit {
    ulong product;
    ulong squares;
} lt_fit;

/* Every `step`th four of the levels. */
lt_fit lt_fit_few(const lt_space *space, ulong scale, uint first, uint step) {
    lt_fit fit = {0, 0};
    if (scale < lt_d_of_whole(LATHE_PRECISE_LEAST_CANDIDATE / 2)) {
        return fit;
    }
    const int exponent = (int)(scale >> 52) - 1022;
    const ulong over = lt_d_div(lt_d_scaled(LT_D_ONE, 14 + exponent), scale);
    const int multiplier = (int)min(lt_d_to_whole(lt_d_add(over, LT_D_HALF)), 32767u);
    const uint shift = (uint)(exponent - 1);
    const int rounder = 1 << (shift - 1);
    int product = 0; /* below 2^31 for all levels */
    int squares = 0;
    for (uint i = 4 * first; i < space->n_levels; i += 4 * step) {
        const int4 levels = convert_int4(vload4(0, space->levels + i));
        const int4 scaled = (levels * multiplier + (1 << 14)) >> 15;
        const int4 codes = clamp((scaled + rounder) >> shift, space->low, space->high);
        const int4 products = codes * levels;
        const int4 both = codes * codes;
        product += (products.x + products.y) + (products.z + products.w);
        squares += (both.x + both.y) + (both.z + both.w);
    }
    fit.product = (ulong)product;
    fit.squares = (ulong)squares;
    return fit;
}

/* The first bin whose level is not below that. */
uint lt_bin_from(const lt_space *space, ulong level) {
    const uint shift = 23 - space->bits;
    const uint one = 127u << 23;
    const uint bits = as_uint(lt_d_to_float(level));
    return bits <= one ? 1 : (bits - one + (1u << shift) / 2 - 1) >> shift;
}

/* In units of half a bin of the first octave. */
ulong lt_whole_level(uint bits, uint bin) {
    const uint in_octave = bin & ((1u << bits) - 1);
    return (ulong)(2 * ((1u << bits) + in_octave) + 1) << (bin >> bits);
}

/* Adds what lies in a half from a bin on. */
void lt_add_from(const lt_space *space, uint half_first, uint bin, uint odd, lt_fit *fit) {
    bin = max(bin, 1u); /* bin 0 counts as 0 */
    if (bin >= space->n_bins) {
        return;
    }
    const uint block = (half_first + bin) / LT_BLOCK_BINS;
    uint count = space->block_counts[block];
    ulong sum = space->block_sums[block];
    for (uint i = bin; i % LT_BLOCK_BINS != 0 || i == bin; i++) {
        const uint here = space->counts[half_first + i];
        count += here;
        sum += here * lt_whole_level(space->bits, i);
    }
    fit->product += sum;
    fit->squares += (ulong)odd * count;
}

/* Every `step`th code. */
lt_fit lt_fit_counts(const lt_space *space, ulong scale, uint first, uint step) {
    lt_fit fit = {0, 0};
    for (int k = 1 + (int)first; k <= -space->low; k += (int)step) {
        const uint odd = (uint)(2 * k - 1);
        const ulong level = lt_d_mul(lt_d_scaled(lt_d_of_whole(odd), -1), scale);
        const uint bin = lt_bin_from(space, level);
        if (k <= space->high) {
            lt_add_from(space, 0, bin, odd, &fit);
        }
        if (space->is_signed) {
            lt_add_from(space, space->n_bins, bin, odd, &fit);
        }
    }
    return fit;
}

/* ---- the search */

/* The best candidate so far; doubles. */
typedef struct lt_best {
    ulong scale;
    ulong product;
    ulong squares;
    ulong gain;
} lt_best;

/* What a work-group shares while it searches: for each work-item, and for each team. */
typedef struct lt_search_memory {
    ulong products[LT_GROUP];
    ulong squares[LT_GROUP];
    ulong gains[LT_GROUP];
    lt_best best[LT_GROUP / LATHE_CL_SEARCH_TEAM];
    uint ends_at[LT_GROUP / LATHE_CL_SEARCH_TEAM];
    uint found_at[LT_GROUP / LATHE_CL_SEARCH_TEAM];
    uint is_on;
} lt_search_memory;

/* A work-item's place. */
typedef struct lt_place {
    uint item;
    uint team;
    uint lane;
    uint n_lanes; /* of a team */
} lt_place;

/* Adds up over `step` neighbours whose first one is a multiple of that; each gets the sums. */
lt_fit lt_join(__local lt_search_memory *memory, uint item, uint step, lt_fit fit) {
    memory->products[item] = fit.product;
    memory->squares[item] = fit.squares;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint apart = step / 2; apart > 0; apart /= 2) {
        if (item % step < apart) {
            memory->products[item] += memory->products[item + apart];
            memory->squares[item] += memory->squares[item + apart];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const lt_fit joined = {memory->products[item - item % step],
                           memory->squares[item - item % step]};
    barrier(CLK_LOCAL_MEM_FENCE);
    return joined;
}

/* n_candidates of a team, a power of two, are tried at once: a work-item's, as doubles. */
lt_best lt_try(const lt_space *space, __local lt_search_memory *memory, lt_place place,
               uint n_candidates, ulong scale) {
    const uint step = place.n_lanes / n_candidates;
    const uint first = place.lane % step;
    lt_fit fit = {0, 0};
    if (scale != 0) {
        fit = space->is_few ? lt_fit_few(space, scale, first, step)
                            : lt_fit_counts(space, scale, first, step);
    }
    fit = lt_join(memory, place.item, step, fit);
    lt_best tried = {scale, lt_d_of_whole(fit.product), lt_d_of_whole(fit.squares), 0};
    if (!space->is_few) {
        tried.product = lt_d_scaled(tried.product, -1 - (int)space->bits);
    }
    if (fit.squares != 0) {
        tried.gain = lt_d_mul(lt_d_div(tried.product, tried.squares), tried.product);
    }
    return tried;
}

/* The greatest gain of a team's candidates up to that one, and of the best before them. */
ulong lt_greatest_gain(__local const lt_search_memory *memory, lt_place place, uint step,
                       uint candidate) {
    __local const ulong *gains = memory->gains + place.team * place.n_lanes;
    ulong greatest = memory->best[place.team].gain;
    for (uint i = 0; i <= candidate; i++) {
        greatest = max(greatest, gains[i * step]);
    }
    return greatest;
}

/* The first of the greatest of the candidates before `end` becomes the best, if it is better. */
void lt_choose_best(__local lt_search_memory *memory, lt_place place, uint n_candidates, uint end,
                    const lt_best *tried) {
    const uint step = place.n_lanes / n_candidates;
    const uint candidate = place.lane / step;
    const ulong before = memory->best[place.team].gain;
    const ulong greatest = lt_greatest_gain(memory, place, step, min(end, n_candidates) - 1);
    if (place.lane == 0) {
        memory->found_at[place.team] = n_candidates;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (candidate < end && tried->gain == greatest && greatest > before) {
        (void)atomic_min(&memory->found_at[place.team], candidate);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (candidate == memory->found_at[place.team] && place.lane % step == 0) {
        memory->best[place.team] = *tried;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Candidate number i of the walk; 0 beyond the last one. */
ulong lt_walk_scale(const lt_space *space, ulong first, int i) {
    const int at = i + LATHE_PRECISE_OCTAVE_STEPS;
    const ulong scale =
        lt_d_scaled(lt_d_mul(first, lt_fractions[at % LATHE_PRECISE_OCTAVE_STEPS]),
                    1 - at / LATHE_PRECISE_OCTAVE_STEPS);
    const bool is_small = space->is_few && scale < lt_d_of_whole(LATHE_PRECISE_LEAST_CANDIDATE);
    return i >= LATHE_PRECISE_STEPS || is_small ? 0 : scale;
}

/* Candidates from the greatest one on. */
void lt_walk(const lt_space *space, __local lt_search_memory *memory, lt_place place, bool is_on) {
    const uint n_candidates = min(place.n_lanes, 64u);
    const uint step = place.n_lanes / n_candidates;
    const uint candidate = place.lane / step;
    const ulong first = lt_d_div(space->greatest, lt_d_of_whole((ulong)space->high));
    int i = -LATHE_PRECISE_STEPS_ABOVE;
    for (bool again = true; again; i += (int)n_candidates) {
        const ulong scale = is_on ? lt_walk_scale(space, first, i + (int)candidate) : 0;
        const lt_best tried = lt_try(space, memory, place, n_candidates, scale);
        memory->gains[place.item] = tried.gain;
        if (place.lane == 0) {
            memory->ends_at[place.team] = n_candidates;
        }
        if (place.item == 0) {
            memory->is_on = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        /* The candidates end with the one whose error is beyond what rounding alone costs, by more
         * than the least error so far. */
        const ulong square = lt_d_mul(scale, scale);
        const ulong at_most = lt_d_add(lt_d_mul(lt_d_scaled(scale, 1), tried.product),
                                       lt_d_scaled(lt_d_mul(space->n_elems, square), -2));
        const ulong gain = lt_greatest_gain(memory, place, step, candidate);
        if (scale == 0 || lt_d_add(gain, lt_d_mul(square, tried.squares)) > at_most) {
            (void)atomic_min(&memory->ends_at[place.team], candidate);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        const uint end = memory->ends_at[place.team];
        lt_choose_best(memory, place, n_candidates, end + 1, &tried);
        is_on = is_on && end == n_candidates;
        if (is_on) {
            memory->is_on = 1;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        again = memory->is_on != 0;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* Candidates between the best one and its neighbours. */
void lt_walk_between(const lt_space *space, __local lt_search_memory *memory, lt_place place) {
    const uint n_candidates = 16; /* the last one is none */
    const uint candidate = place.lane / (place.n_lanes / n_candidates);
    const int i = (int)candidate - LATHE_PRECISE_FINE_STEPS;
    const ulong share = lt_d_mul(lt_d_of_whole((ulong)abs(i)), LATHE_PRECISE_FINE_STEP);
    const ulong factor = i < 0 ? lt_d_sub(LT_D_ONE, share) : lt_d_add(LT_D_ONE, share);
    const ulong scale = i > LATHE_PRECISE_FINE_STEPS
                            ? 0
                            : lt_d_mul(memory->best[place.team].scale, factor);
    const lt_best tried = lt_try(space, memory, place, n_candidates, scale);
    memory->gains[place.item] = tried.gain;
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_choose_best(memory, place, n_candidates, n_candidates, &tried);
}

/* What the codes of the best candidate ask for becomes a candidate itself, as long as that helps. */
void lt_refine(const lt_space *space, __local lt_search_memory *memory, lt_place place) {
    bool is_on = memory->best[place.team].gain != 0;
    for (uint i = 0; i < LATHE_PRECISE_REFINEMENTS; i++) {
        const lt_best best = memory->best[place.team];
        const ulong scale = is_on ? lt_d_div(best.product, best.squares) : 0;
        const lt_best tried = lt_try(space, memory, place, 1, scale);
        is_on = is_on && tried.gain > best.gain;
        if (is_on && place.lane == 0) {
            memory->best[place.team] = tried;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* The best scale with the codes of the best candidate, in levels; 0: there is none, as for teams
 * that are not on. All work-items of a group do this together. */
ulong lt_search(const lt_space *space, __local lt_search_memory *memory, lt_place place,
                bool is_on) {
    if (place.lane == 0) {
        const lt_best none = {0, 0, 0, 0};
        memory->best[place.team] = none;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_walk(space, memory, place, is_on);
    lt_walk_between(space, memory, place);
    lt_refine(space, memory, place);
    const lt_best best = memory->best[place.team];
    return best.gain == 0 ? 0 : lt_d_div(best.product, best.squares);
}

/* The scale that the search has led to and its inverse; 0: none. */
float2 lt_other_scale(ulong found) {
    const float scale = found <= LATHE_PRECISE_MAX_FLOAT ? lt_d_to_float(found) : 0;
    const float inverse = scale > 0 ? lt_inverse(scale) : 0;
    return (float2)(inverse > 0 ? scale : 0, inverse);
}

/* ---- the choice */

/* What both scales make of some elements: the standard one's sums first. */
typedef struct lt_fits {
    lt_fit standard;
    lt_fit other;
} lt_fits;

void lt_add_fits(lt_fits *fits, const lathe_search *search, float x, float inverse,
                 float other_inverse, float factor) {
    const float from = fabs(x) <= FLT_MAX ? x : 0;
    const float high = (float)search->high_code;
    const float low = -high - (float)search->extra_codes;
    const int whole = lt_nearest_int(from * factor);
    const int code = lt_nearest_int(fmin(fmax(from * inverse, low), high));
    const int other = lt_nearest_int(fmin(fmax(from * other_inverse, low), high));
    fits->standard.product += (ulong)(long)(code * whole);
    fits->standard.squares += (ulong)(code * code);
    fits->other.product += (ulong)(long)(other * whole);
    fits->other.squares += (ulong)(other * other);
}

/* The scale with the least squared error for the codes of the other one, if that is less than the
 * standard scale's; else the standard one. */
float lt_chosen(const lt_fits *fits, float scale, float factor, const lathe_search *search) {
    const int unit = lt_octave(factor);
    const ulong standard = lt_d_scaled(lt_d_of_float(scale), unit);
    const ulong p0 = lt_d_scaled(lt_d_of_whole(fits->standard.product), 1);
    const ulong q0 = lt_d_mul(standard, lt_d_of_whole(fits->standard.squares));
    const ulong p1 = lt_d_of_whole(fits->other.product);
    const ulong q1 = lt_d_of_whole(fits->other.squares);
    const ulong gain = p0 > q0 ? lt_d_mul(standard, lt_d_sub(p0, q0)) : 0;
    if (q1 == 0 || p1 == 0) {
        return scale;
    }
    const ulong best = lt_d_div(p1, q1);
    const ulong found = lt_d_scaled(best, -unit);
    const ulong reach = lt_d_mul(found, lt_d_of_whole(search->high_code + search->extra_codes));
    if (lt_d_mul(best, p1) <= lt_d_mul(gain, LATHE_PRECISE_MARGIN) ||
        reach >= LATHE_PRECISE_MAX_FLOAT) {
        return scale;
    }
    const float chosen = lt_d_to_float(found);
    return chosen > 0 && lt_inverse(chosen) > 0 ? chosen : scale;
}

/* ---- scopes of few elements */

typedef struct lt_few_memory {
    lt_search_memory search;
    uint lanes[LT_GROUP];
    uint tops[LT_GROUP];
    uint is_odd;
} lt_few_memory;

/* A lane's share of the standard statistic, two lanes of docs/numerics.md, and the greatest finite
 * magnitude. */
uint2 lt_few_share(__global const uchar *src, __global const float *src_scales,
                   const lathe_launch *launch, const lathe_search *search, lt_tile tile, uint lane,
                   uint attempt, __global uint *report) {
    uint stats[2] = {0, 0};
    uint top = 0;
    for (uint i = lane; i < tile.n_elems; i += LATHE_CL_SEARCH_TEAM) {
        const uint elem = tile.elem + i;
        const float x =
            lt_search_element(src, src_scales, launch, (uint)search->src_dtype, elem);
        const uint share = lt_share(x, attempt, elem, launch->flags, report);
        const uint magnitude = as_uint(x) & LT_MAGNITUDE;
        const uint which = (i - lane) / LATHE_CL_SEARCH_TEAM % 2;
        top = max(top, magnitude < LT_INFINITY ? magnitude : 0);
        stats[which] = search->is_mean != 0
                           ? as_uint(as_float(stats[which]) + as_float(share))
                           : max(stats[which], share);
    }
    return (uint2)(search->is_mean != 0 ? as_uint(as_float(stats[0]) + as_float(stats[1]))
                                        : max(stats[0], stats[1]),
                   top);
}

/* Folds the lanes of each team by halves; its lane 0 has the result. */
void lt_few_fold(__local lt_few_memory *memory, lt_place place, bool is_mean) {
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint apart = LATHE_CL_SEARCH_TEAM / 2; apart > 0; apart /= 2) {
        if (place.lane < apart) {
            const uint a = memory->lanes[place.item];
            const uint b = memory->lanes[place.item + apart];
            memory->lanes[place.item] =
                is_mean ? as_uint(as_float(a) + as_float(b)) : max(a, b);
            memory->tops[place.item] =
                max(memory->tops[place.item], memory->tops[place.item + apart]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
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

/* The team's standard scale, and the greatest finite magnitude. */
float2 lt_few_standard(__global const uchar *src, __global const float *src_scales,
                       const lathe_launch *launch, const lathe_search *search, lt_tile tile,
                       lt_place place, __local lt_few_memory *memory, __global uint *report) {
    const uint first = place.item - place.lane;
    float2 found = (float2)(0, 0);
    bool is_found = tile.n_elems == 0;
    bool again = true;
    for (uint attempt = LT_AS_IS; again; attempt++) {
        uint2 mine = (uint2)(0, 0);
        if (!is_found) {
            mine = lt_few_share(src, src_scales, launch, search, tile, place.lane, attempt, report);
        }
        memory->lanes[place.item] = mine.x;
        memory->tops[place.item] = mine.y;
        if (place.item == 0) {
            memory->is_odd = 0;
        }
        lt_few_fold(memory, place, search->is_mean != 0);
        if (!is_found) {
            const uint stat = memory->lanes[first];
            is_found = lt_is_finite(stat);
            found.x = lt_few_scale(is_found ? stat : 0, tile.n_elems, attempt == LT_SHRUNK, search);
            found.y = as_float(memory->tops[first]);
            if (!is_found) {
                memory->is_odd = 1;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        again = memory->is_odd != 0;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return found;
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_search_few(__global const uchar *restrict src, __global const float *restrict src_scales,
                 __global float *restrict scales, __global uint *reports, lathe_launch launch,
                 lathe_search search, __local short *levels) {
    __local lt_few_memory memory;
    const uint item = (uint)get_local_id(0);
    const lt_place place = {item, item / LATHE_CL_SEARCH_TEAM, item % LATHE_CL_SEARCH_TEAM, LATHE_CL_SEARCH_TEAM};
    const uint scope = (uint)get_group_id(0) * (LT_GROUP / LATHE_CL_SEARCH_TEAM) + place.team;
    lt_tile tile = {0, 0};
    if (scope < search.n_scopes) {
        tile = lt_tile_of(&launch, scope * (uint)launch.tiles_per_scope.by);
    }
    if (tile.n_elems > LATHE_PRECISE_ELEMS) {
        tile.n_elems = 0; /* a longer scope */
    }
    const uint dtype = (uint)search.src_dtype;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    __local short *mine = levels + place.team * (uint)search.level_room;

    const float2 standard =
        lt_few_standard(src, src_scales, &launch, &search, tile, place, &memory, report);
    const float scale = standard.x;
    const float greatest = standard.y;
    const float inverse = lt_standard_inverse(scale);
    const bool is_on = tile.n_elems > 0 && inverse != 0 &&
                       lt_octave(greatest) >= LATHE_PRECISE_LEAST_OCTAVE;
    const float factor = is_on ? lt_divide_any((float)LATHE_PRECISE_TOP_LEVEL, greatest) : 1;
    const uint n_levels =
        (tile.n_elems + LATHE_CL_LEVEL_STEP - 1) / LATHE_CL_LEVEL_STEP * LATHE_CL_LEVEL_STEP;
    for (uint i = place.lane; i < n_levels; i += LATHE_CL_SEARCH_TEAM) {
        float x = 0;
        if (i < tile.n_elems) {
            x = lt_search_element(src, src_scales, &launch, dtype, tile.elem + i);
        }
        mine[i] = (short)(fabs(x) <= FLT_MAX ? lt_nearest_int(x * factor) : 0);
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    const int high = (int)search.high_code;
    const lt_space space = {.is_few = true,
                            .low = -high - (int)search.extra_codes,
                            .high = high,
                            .n_elems = lt_d_of_whole(tile.n_elems),
                            .greatest = lt_d_of_whole(LATHE_PRECISE_TOP_LEVEL),
                            .levels = mine,
                            .n_levels = n_levels};
    const ulong found = lt_search(&space, &memory.search, place, is_on);
    const float2 other =
        lt_other_scale(lt_d_mul(found, lt_d_div(LT_D_ONE, lt_d_of_float(factor))));
    const float unit = is_on ? lt_unit_factor(lt_octave(greatest)) : 1;

    lt_fits fits = {{0, 0}, {0, 0}};
    for (uint i = place.lane; other.x != 0 && i < tile.n_elems; i += LATHE_CL_SEARCH_TEAM) {
        const float x = lt_search_element(src, src_scales, &launch, dtype, tile.elem + i);
        lt_add_fits(&fits, &search, x, inverse, other.y, unit);
    }
    fits.standard = lt_join(&memory.search, item, LATHE_CL_SEARCH_TEAM, fits.standard);
    fits.other = lt_join(&memory.search, item, LATHE_CL_SEARCH_TEAM, fits.other);
    if (place.lane == 0 && tile.n_elems > 0) {
        scales[search.first_scale + scope] =
            other.x == 0 ? scale : lt_chosen(&fits, scale, unit, &search);
    }
}

/* ---- longer scopes */

/* The bins of a scope. */
typedef struct lt_bins {
    uint shift;
    int base;
    int n; /* of a half */
    int first_octave;
} lt_bins;

lt_bins lt_bins_of(const lathe_search *search, float scale) {
    const uint bits = (uint)search->bin_bits;
    const float top = fmin(scale * (float)search->high_code * LATHE_PRECISE_ROUNDED, FLT_MAX);
    const bool is_mean = search->is_mean != 0;
    const int octave = lt_octave(is_mean ? scale : top);
    const int last = is_mean ? octave + LATHE_PRECISE_ABOVE_MEAN - 1 : octave;
    const int first =
        is_mean ? octave - LATHE_PRECISE_BELOW_MEAN : last - LATHE_PRECISE_OCTAVES + 1;
    const lt_bins bins = {23 - bits, (first + 127) << bits, (last - first + 1) << bits, first};
    return bins;
}

uint lt_bin_of(lt_bins bins, bool is_signed, float x) {
    const uint bits = as_uint(x);
    const uint magnitude = bits & LT_MAGNITUDE;
    const int bin = clamp((int)(magnitude >> bins.shift) - bins.base, 0, bins.n - 1);
    return (uint)((magnitude < LT_INFINITY ? bin : 0) +
                  (is_signed && (int)bits < 0 ? bins.n : 0));
}

/* Where the elements of a part are: tiles of the launch. */
typedef struct lt_part_tiles {
    uint scope;
    uint first;
    uint end;
} lt_part_tiles;

lt_part_tiles lt_part_tiles_of(const lathe_launch *launch, const lathe_search *search) {
    const uint group = (uint)get_group_id(0);
    const uint scope = group / (uint)search->n_parts;
    const uint part = group - scope * (uint)search->n_parts;
    const uint tiles = (uint)launch->tiles_per_scope.by;
    const uint first = part * (uint)search->part_tiles;
    const lt_part_tiles found = {scope, scope * tiles + first,
                                 scope * tiles + min(first + (uint)search->part_tiles, tiles)};
    return found;
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_search_count(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global const float *restrict scales, __global uint *counts,
                   lathe_launch launch, lathe_search search) {
    __local uint bins[LATHE_PRECISE_BINS];
    const uint item = (uint)get_local_id(0);
    const lt_part_tiles part = lt_part_tiles_of(&launch, &search);
    const float scale = scales[search.first_scale + part.scope];
    const bool is_signed = search.extra_codes != 0;
    if (lt_standard_inverse(scale) == 0) {
        return;
    }
    const lt_bins shape = lt_bins_of(&search, scale);
    for (uint i = item; i < LATHE_PRECISE_BINS; i += LT_GROUP) {
        bins[i] = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = part.first; i < part.end; i++) {
        const lt_tile tile = lt_tile_of(&launch, i);
        for (uint at = item; at < tile.n_elems; at += LT_GROUP) {
            const float x = lt_search_element(src, src_scales, &launch, (uint)search.src_dtype,
                                              tile.elem + at);
            (void)atomic_inc(&bins[lt_bin_of(shape, is_signed, x)]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    __global uint *sums = counts + (ulong)part.scope * LATHE_PRECISE_BINS;
    for (uint i = item; i < LATHE_PRECISE_BINS; i += LT_GROUP) {
        if (bins[i] != 0) {
            (void)atomic_add(&sums[i], bins[i]);
        }
    }
}

#define LT_BLOCKS (LATHE_PRECISE_BINS / LT_BLOCK_BINS)

typedef struct lt_counts_memory {
    lt_search_memory search;
    uint counts[LATHE_PRECISE_BINS];
    uint block_counts[LT_BLOCKS];
    ulong block_sums[LT_BLOCKS];
    uint after_counts[LT_BLOCKS];
    ulong after_sums[LT_BLOCKS];
    uint n_elems;
    uint greatest; /* bin */
} lt_counts_memory;

/* Takes a histogram over, and sums up its blocks. */
void lt_sum_up(__global const uint *counts, lt_bins bins, bool is_signed, uint item,
               __local lt_counts_memory *memory) {
    const uint n_bins = (uint)bins.n * (is_signed ? 2 : 1);
    const uint half_blocks = (uint)bins.n / LT_BLOCK_BINS;
    for (uint i = item; i < n_bins; i += LT_GROUP) {
        memory->counts[i] = counts[i];
    }
    if (item == 0) {
        memory->n_elems = 0;
        memory->greatest = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint block = item; block < n_bins / LT_BLOCK_BINS; block += LT_GROUP) {
        uint count = 0;
        ulong sum = 0;
        uint greatest = 0;
        for (uint i = 0; i < LT_BLOCK_BINS; i++) {
            const uint here = memory->counts[block * LT_BLOCK_BINS + i];
            const uint bin = block % half_blocks * LT_BLOCK_BINS + i;
            count += here;
            sum += here * lt_whole_level(23 - bins.shift, bin);
            greatest = here != 0 ? bin : greatest;
        }
        memory->block_counts[block] = count;
        memory->block_sums[block] = sum;
        (void)atomic_add(&memory->n_elems, count);
        (void)atomic_max(&memory->greatest, greatest);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint block = item; block < n_bins / LT_BLOCK_BINS; block += LT_GROUP) {
        const uint end = (block / half_blocks + 1) * half_blocks;
        uint count = 0;
        ulong sum = 0;
        for (uint i = block + 1; i < end; i++) {
            count += memory->block_counts[i];
            sum += memory->block_sums[i];
        }
        memory->after_counts[block] = count;
        memory->after_sums[block] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_search_counts(__global const float *restrict scales, __global const uint *restrict counts,
                    __global float *restrict states, lathe_search search) {
    __local lt_counts_memory memory;
    const uint item = (uint)get_local_id(0);
    const uint scope = (uint)get_group_id(0);
    const lt_place place = {item, 0, item, LT_GROUP};
    const float scale = scales[search.first_scale + scope];
    const bool is_signed = search.extra_codes != 0;
    __global float *state = states + scope * LATHE_CL_STATE_WORDS;
    if (lt_standard_inverse(scale) == 0) {
        if (item == 0) {
            state[0] = 0;
        }
        return;
    }
    const lt_bins bins = lt_bins_of(&search, scale);
    const uint bits = 23 - bins.shift;
    lt_sum_up(counts + (ulong)scope * LATHE_PRECISE_BINS, bins, is_signed, item, &memory);
    const uint greatest = memory.greatest;
    const int octave = bins.first_octave + (int)(greatest >> bits);
    const bool is_on = greatest > 0 && octave >= LATHE_PRECISE_LEAST_OCTAVE &&
                       memory.n_elems > LATHE_PRECISE_ELEMS;
    const int high = (int)search.high_code;
    /* A level that is a float has one bit more than bins have. */
    const lt_space space = {
        .is_few = false,
        .is_signed = is_signed,
        .low = -high - (int)search.extra_codes,
        .high = high,
        .n_elems = lt_d_of_whole(memory.n_elems),
        .greatest = lt_d_scaled(lt_d_of_whole(lt_whole_level(bits, greatest)), -1 - (int)bits),
        .counts = memory.counts,
        .block_counts = memory.after_counts,
        .block_sums = memory.after_sums,
        .n_bins = (uint)bins.n,
        .bits = bits};
    const ulong found = lt_search(&space, &memory.search, place, is_on);
    const float2 other = lt_other_scale(lt_d_scaled(found, bins.first_octave));
    if (item == 0) {
        state[0] = other.x;
        state[1] = other.y;
        state[2] = is_on ? lt_unit_factor(octave) : 1;
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_search_fit(__global const uchar *restrict src, __global const float *restrict src_scales,
                 __global const float *restrict scales, __global const float *restrict states,
                 __global ulong *restrict sums, lathe_launch launch, lathe_search search) {
    __local lt_search_memory memory;
    const uint item = (uint)get_local_id(0);
    const lt_part_tiles part = lt_part_tiles_of(&launch, &search);
    const float inverse = lt_standard_inverse(scales[search.first_scale + part.scope]);
    __global const float *state = states + part.scope * LATHE_CL_STATE_WORDS;
    lt_fits fits = {{0, 0}, {0, 0}};
    for (uint i = part.first; state[0] != 0 && i < part.end; i++) {
        const lt_tile tile = lt_tile_of(&launch, i);
        for (uint at = item; at < tile.n_elems; at += LT_GROUP) {
            const float x = lt_search_element(src, src_scales, &launch, (uint)search.src_dtype,
                                              tile.elem + at);
            lt_add_fits(&fits, &search, x, inverse, state[1], state[2]);
        }
    }
    fits.standard = lt_join(&memory, item, LT_GROUP, fits.standard);
    fits.other = lt_join(&memory, item, LT_GROUP, fits.other);
    if (item == 0) {
        __global ulong *mine = sums + (ulong)get_group_id(0) * LATHE_CL_FIT_SUMS;
        mine[0] = fits.standard.product;
        mine[1] = fits.standard.squares;
        mine[2] = fits.other.product;
        mine[3] = fits.other.squares;
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_search_choose(__global float *restrict scales, __global const float *restrict states,
                    __global const ulong *restrict sums, lathe_search search) {
    __local lt_search_memory memory;
    const uint item = (uint)get_local_id(0);
    const uint scope = (uint)get_group_id(0);
    const uint n_parts = (uint)search.n_parts;
    lt_fits fits = {{0, 0}, {0, 0}};
    for (uint part = item; part < n_parts; part += LT_GROUP) {
        __global const ulong *from = sums + ((ulong)scope * n_parts + part) * LATHE_CL_FIT_SUMS;
        fits.standard.product += from[0];
        fits.standard.squares += from[1];
        fits.other.product += from[2];
        fits.other.squares += from[3];
    }
    fits.standard = lt_join(&memory, item, LT_GROUP, fits.standard);
    fits.other = lt_join(&memory, item, LT_GROUP, fits.other);
    __global const float *state = states + scope * LATHE_CL_STATE_WORDS;
    if (item == 0 && state[0] != 0) {
        __global float *scale = scales + search.first_scale + scope;
        *scale = lt_chosen(&fits, *scale, state[2], &search);
    }
}

#endif
