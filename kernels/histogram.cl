/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE scales of longer scopes, whose standard scale is known: a histogram, the search in it,
 * and the choice. A work-group does all of that for a scope, or, where scopes are so long that many
 * work-groups share one, four kernels do. Only programs with LT_SEARCH. */
#include "search_few.cl"

#ifdef LT_SEARCH

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
    return (uint)((magnitude < LT_INFINITY ? bin : 0) + (is_signed && (int)bits < 0 ? bins.n : 0));
}

/* Elements of the launch, of a scope or a part of it. */
typedef struct lt_stretch {
    uint scope;
    uint elem;
    uint n_elems;
} lt_stretch;

/* Tiles [first, end) of a scope. */
lt_stretch lt_stretch_of(const lathe_launch *launch, uint scope, uint first, uint end) {
    const uint n_tiles = (uint)launch->tiles_per_scope.by;
    const lt_tile begin = lt_tile_of(launch, scope * n_tiles + first);
    const lt_tile last = lt_tile_of(launch, scope * n_tiles + min(end, n_tiles) - 1);
    const lt_stretch part = {scope, begin.elem, last.elem + last.n_elems - begin.elem};
    return part;
}

/* The work-group's part of a scope. */
lt_stretch lt_own_stretch(const lathe_launch *launch, const lathe_search *search) {
    const uint group = (uint)get_group_id(0);
    const uint scope = group / (uint)search->n_parts;
    const uint first = (group - scope * (uint)search->n_parts) * (uint)search->part_tiles;
    return lt_stretch_of(launch, scope, first, first + (uint)search->part_tiles);
}

/* Counts a part's elements. All work-items of the group call it. */
void lt_count(__global const uchar *src, __global const float *src_scales,
              const lathe_launch *launch, const lathe_search *search, lt_stretch part, lt_bins bins,
              uint item, __local uint *counts) {
    const bool is_vector = (launch->flags & LATHE_CL_SRC_VECTOR) != 0;
    const bool is_signed = search->extra_codes != 0;
    for (uint i = item; i < LATHE_PRECISE_BINS; i += LT_GROUP) {
        counts[i] = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint at = 4 * item; at < part.n_elems; at += 4 * LT_GROUP) {
        const uint left = part.n_elems - at;
        const float4 x = lt_values_at(&launch->src, (uint)search->src_dtype, src, src_scales,
                                      part.elem + at, left, is_vector);
        (void)atomic_inc(&counts[lt_bin_of(bins, is_signed, x.x)]);
        if (left > 1) {
            (void)atomic_inc(&counts[lt_bin_of(bins, is_signed, x.y)]);
        }
        if (left > 2) {
            (void)atomic_inc(&counts[lt_bin_of(bins, is_signed, x.z)]);
        }
        if (left > 3) {
            (void)atomic_inc(&counts[lt_bin_of(bins, is_signed, x.w)]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Bins that a work-item sums up at once: neither an octave nor a half ends inside. */
#define LT_CHUNK_BINS 16
#define LT_CHUNKS (LATHE_PRECISE_BINS / LT_CHUNK_BINS)
#define LT_ITEM_CHUNKS ((LT_CHUNKS + LT_GROUP - 1) / LT_GROUP)

/* Candidates of a scope that are tried at once: few walks are longer. */
#define LT_AT_ONCE 16

typedef struct lt_counts_memory {
    uint counts[LATHE_PRECISE_BINS];
    ulong block_sums[LATHE_PRECISE_BINS / LT_BLOCK_BINS];
    ulong products[LT_CHUNKS]; /* while the histogram is summed up: sums of chunks */
    ulong squares[LT_CHUNKS];  /* numbers of elements */
    lt_tried tried[LT_AT_ONCE];
    lt_tried best[1];
    uint is_last[LT_AT_ONCE];
    uint is_walking[1];
    uint is_any;
    uint greatest; /* bin */
} lt_counts_memory;

/* What a chunk and those of its half that follow have. */
void lt_sum_up_chunks(uint n_chunks, uint half_chunks, uint item,
                      __local lt_counts_memory *memory) {
    for (uint apart = 1; apart < half_chunks; apart *= 2) {
        ulong n_elems[LT_ITEM_CHUNKS];
        ulong sums[LT_ITEM_CHUNKS];
#pragma unroll
        for (uint i = 0; i < LT_ITEM_CHUNKS; i++) {
            const uint chunk = item + i * LT_GROUP;
            const bool has_more = chunk < n_chunks && chunk % half_chunks + apart < half_chunks;
            n_elems[i] = has_more ? memory->squares[chunk + apart] : 0;
            sums[i] = has_more ? memory->products[chunk + apart] : 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
        for (uint i = 0; i < LT_ITEM_CHUNKS; i++) {
            const uint chunk = item + i * LT_GROUP;
            if (chunk < n_chunks) {
                memory->squares[chunk] += n_elems[i];
                memory->products[chunk] += sums[i];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

/* The greatest bin of a chunk that is not empty; 0: there is none. */
uint lt_sum_up_chunk(lt_bins bins, uint chunk, uint half_chunks, __local lt_counts_memory *memory) {
    const uint bits = 23 - bins.shift;
    const uint first = chunk % half_chunks * LT_CHUNK_BINS; /* of the half */
    uint level = lt_level_in_octave(bits, first);
    uint greatest = 0;
    uint n_elems = 0;
    ulong sum = 0;
    for (uint i = 0; i < LT_CHUNK_BINS; i++) {
        const uint here = memory->counts[chunk * LT_CHUNK_BINS + i];
        n_elems += here;
        sum += (ulong)here * (level + 2 * i);
        greatest = here != 0 ? first + i : greatest;
    }
    memory->squares[chunk] = n_elems;
    memory->products[chunk] = sum << (first >> bits);
    return greatest;
}

/* Makes a chunk's counts those of a bin and what is above it, and the sums above blocks. */
void lt_spread_chunk(lt_bins bins, uint chunk, uint half_chunks, __local lt_counts_memory *memory) {
    const uint bits = 23 - bins.shift;
    const uint first = chunk % half_chunks * LT_CHUNK_BINS;
    const bool is_top = chunk % half_chunks + 1 == half_chunks;
    const uint level = lt_level_in_octave(bits, first);
    uint count = is_top ? 0 : (uint)memory->squares[chunk + 1];
    const ulong above = is_top ? 0 : memory->products[chunk + 1];
    ulong sum = 0;
    for (uint i = LT_CHUNK_BINS; i-- > 0;) {
        const uint at = chunk * LT_CHUNK_BINS + i;
        const uint here = memory->counts[at];
        if (i % LT_BLOCK_BINS == LT_BLOCK_BINS - 1) {
            memory->block_sums[at / LT_BLOCK_BINS] = above + (sum << (first >> bits));
        }
        count += here;
        sum += (ulong)here * (level + 2 * i);
        memory->counts[at] = count;
    }
}

/* Sums a histogram up. */
void lt_sum_up(lt_bins bins, bool is_signed, uint item, __local lt_counts_memory *memory) {
    const uint half_chunks = (uint)bins.n / LT_CHUNK_BINS;
    const uint n_chunks = half_chunks * (is_signed ? 2 : 1);
    if (item == 0) {
        memory->greatest = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint chunk = item; chunk < n_chunks; chunk += LT_GROUP) {
        const uint greatest = lt_sum_up_chunk(bins, chunk, half_chunks, memory);
        if (greatest > 0) {
            (void)atomic_max(&memory->greatest, greatest);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_sum_up_chunks(n_chunks, half_chunks, item, memory);
    for (uint chunk = item; chunk < n_chunks; chunk += LT_GROUP) {
        lt_spread_chunk(bins, chunk, half_chunks, memory);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

lt_shared lt_shared_of(__local lt_counts_memory *memory) {
    const lt_shared shared = {memory->products, memory->squares,    memory->tried,  memory->is_last,
                              memory->best,     memory->is_walking, &memory->is_any};
    return shared;
}

/* Sums up a scope's histogram and searches in it. All work-items get the other scale, 0 if
 * there is none, its inverse, and the factor that takes elements below 2^22. */
float4 lt_search_counts(const lathe_search *search, lt_bins bins, uint item,
                        __local lt_counts_memory *memory) {
    const lt_shared shared = lt_shared_of(memory);
    const lt_place place = {item, 0, item, LT_GROUP, LT_AT_ONCE};
    const bool is_signed = search->extra_codes != 0;
    const uint bits = 23 - bins.shift;
    lt_sum_up(bins, is_signed, item, memory);
    const uint greatest = memory->greatest;
    const uint n_elems = memory->counts[0] + (is_signed ? memory->counts[bins.n] : 0);
    const int octave = bins.first_octave + (int)(greatest >> bits);
    const bool is_on =
        greatest > 0 && octave >= LATHE_PRECISE_LEAST_OCTAVE && n_elems > LATHE_PRECISE_ELEMS;
    const int high = (int)search->high_code;
    /* A level that is a float has one bit more than bins have. */
    const ulong level = (ulong)lt_level_in_octave(bits, greatest) << (greatest >> bits);
    const lt_space space = {.is_few = false,
                            .is_signed = is_signed,
                            .low = -high - (int)search->extra_codes,
                            .high = high,
                            .n_elems = lt_d_of_whole(n_elems),
                            .greatest = lt_d_scaled(lt_d_of_whole(level), -1 - (int)bits),
                            .counts = memory->counts,
                            .block_sums = memory->block_sums,
                            .n_bins = (uint)bins.n,
                            .bits = bits};
    const ulong found = lt_search(&space, &shared, place, is_on);
    const float2 other = lt_other_scale(lt_d_scaled(found, bins.first_octave));
    return (float4)(other, is_on ? lt_unit_factor(octave) : 1, 0);
}

/* All of it, for a scope for each work-group. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_search_whole(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global float *restrict scales, lathe_launch launch, lathe_search search) {
    __local lt_counts_memory memory;
    const uint item = (uint)get_local_id(0);
    const uint scope = (uint)get_group_id(0);
    const uint n_tiles = (uint)launch.tiles_per_scope.by;
    const lt_stretch part = lt_stretch_of(&launch, scope, 0, n_tiles);
    const float scale = scales[search.first_scale + scope];
    const float inverse = lt_standard_inverse(scale);
    barrier(CLK_GLOBAL_MEM_FENCE); /* all have read what the first one will overwrite */
    if (inverse == 0 || part.n_elems <= LATHE_PRECISE_ELEMS) {
        return;
    }
    const lt_bins bins = lt_bins_of(&search, scale);
    lt_count(src, src_scales, &launch, &search, part, bins, item, memory.counts);
    const float4 other = lt_search_counts(&search, bins, item, &memory);
    if (other.x == 0) {
        return;
    }
    const lt_shared shared = lt_shared_of(&memory);
    const lt_fits fits = lt_fits_of(src, src_scales, &launch, &search, part.elem, part.n_elems,
                                    item, LT_GROUP, inverse, other.y, other.z);
    const lt_both both = lt_join_both(&shared, item, LT_GROUP, lt_both_of(fits));
    if (item == 0) {
        scales[search.first_scale + scope] = lt_chosen(&both, scale, other.z, &search);
    }
}

/* ---- scopes that many work-groups share */

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_count_part(__global const uchar *restrict src, __global const float *restrict src_scales,
                 __global const float *restrict scales, __global uint *counts, lathe_launch launch,
                 lathe_search search) {
    __local uint bins[LATHE_PRECISE_BINS];
    const uint item = (uint)get_local_id(0);
    const lt_stretch part = lt_own_stretch(&launch, &search);
    const float scale = scales[search.first_scale + part.scope];
    if (lt_standard_inverse(scale) == 0) {
        return;
    }
    lt_count(src, src_scales, &launch, &search, part, lt_bins_of(&search, scale), item, bins);
    __global uint *sums = counts + (ulong)part.scope * LATHE_PRECISE_BINS;
    for (uint i = item; i < LATHE_PRECISE_BINS; i += LT_GROUP) {
        if (bins[i] != 0) {
            (void)atomic_add(&sums[i], bins[i]);
        }
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_search_parts(__global const float *restrict scales, __global const uint *restrict counts,
                   __global float *restrict states, lathe_search search) {
    __local lt_counts_memory memory;
    const uint item = (uint)get_local_id(0);
    const uint scope = (uint)get_group_id(0);
    const float scale = scales[search.first_scale + scope];
    __global float *state = states + scope * LATHE_CL_STATE_WORDS;
    if (lt_standard_inverse(scale) == 0) {
        if (item == 0) {
            state[0] = 0;
        }
        return;
    }
    for (uint i = item; i < LATHE_PRECISE_BINS; i += LT_GROUP) {
        memory.counts[i] = counts[(ulong)scope * LATHE_PRECISE_BINS + i];
    }
    const float4 other = lt_search_counts(&search, lt_bins_of(&search, scale), item, &memory);
    if (item == 0) {
        state[0] = other.x;
        state[1] = other.y;
        state[2] = other.z;
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_fit_part(__global const uchar *restrict src, __global const float *restrict src_scales,
               __global const float *restrict scales, __global const float *restrict states,
               __global ulong *restrict sums, lathe_launch launch, lathe_search search) {
    __local ulong products[LT_GROUP];
    __local ulong squares[LT_GROUP];
    const lt_shared shared = {products, squares, 0, 0, 0, 0, 0};
    const uint item = (uint)get_local_id(0);
    const lt_stretch part = lt_own_stretch(&launch, &search);
    const float inverse = lt_standard_inverse(scales[search.first_scale + part.scope]);
    __global const float *state = states + part.scope * LATHE_CL_STATE_WORDS;
    const lt_fits fits =
        lt_fits_of(src, src_scales, &launch, &search, part.elem, state[0] != 0 ? part.n_elems : 0,
                   item, LT_GROUP, inverse, state[1], state[2]);
    const lt_both both = lt_join_both(&shared, item, LT_GROUP, lt_both_of(fits));
    if (item == 0) {
        __global ulong *mine = sums + (ulong)get_group_id(0) * LATHE_CL_FIT_SUMS;
        mine[0] = both.standard.product;
        mine[1] = both.standard.squares;
        mine[2] = both.other.product;
        mine[3] = both.other.squares;
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_choose_scale(__global float *restrict scales, __global const float *restrict states,
                   __global const ulong *restrict sums, lathe_search search) {
    __local ulong products[LT_GROUP];
    __local ulong squares[LT_GROUP];
    const lt_shared shared = {products, squares, 0, 0, 0, 0, 0};
    const uint item = (uint)get_local_id(0);
    const uint scope = (uint)get_group_id(0);
    const uint n_parts = (uint)search.n_parts;
    lt_both both = {{0, 0}, {0, 0}};
    for (uint part = item; part < n_parts; part += LT_GROUP) {
        __global const ulong *from = sums + ((ulong)scope * n_parts + part) * LATHE_CL_FIT_SUMS;
        both.standard.product += from[0];
        both.standard.squares += from[1];
        both.other.product += from[2];
        both.other.squares += from[3];
    }
    both = lt_join_both(&shared, item, LT_GROUP, both);
    __global const float *state = states + scope * LATHE_CL_STATE_WORDS;
    if (item == 0 && state[0] != 0) {
        __global float *scale = scales + search.first_scale + scope;
        *scale = lt_chosen(&both, *scale, state[2], &search);
    }
}

#endif
