/* SPDX-License-Identifier: Apache-2.0 */
/* The recode_stats kernel: the statistic of each tile of codes that have one source scale. */
#include "recode_stat.cl"

#if LT_HAS_RECODE

/* Work-items of a tile, and tiles of a work-group. */
#define LT_SHARERS LATHE_CL_RECODE_SHARERS
#define LT_RECODE_TILES LATHE_CL_RECODE_TILES(LT_GROUP)

/* Rows of lanes, which are what the longest lane's sum has elements. */
#define LT_TILE_ROWS (LATHE_STAT_TILE / LATHE_STAT_LANES)

/* Sums that are found by counting, and sums at all, of codes that differ in magnitude. */
#define LT_TILE_COUNTS (LT_IS_MEAN && LT_SRC >= LATHE_CL_I2 && LT_SRC != LATHE_CL_I1)
#define LT_TILE_LANE_SUMS (LT_IS_MEAN && LT_SRC != LATHE_CL_I1)

/* Words that a work-item leaves for its tile's others; one more for each tile keeps what work-items
 * of different tiles read on different banks. */
#if !LT_IS_MEAN
#define LT_LEFT_WORDS (LT_SHARERS + 1)
#elif LT_SRC == LATHE_CL_I2
#define LT_LEFT_WORDS (LT_SHARERS * 8) /* in fours */
#else
#define LT_LEFT_WORDS (LT_SHARERS * 5)
#endif

/* Fours of lanes of a tile: one more, again. */
#define LT_LANE_FOURS (LATHE_STAT_LANES / 4 + 1)

typedef struct lt_tile_memory {
#if LT_TILE_LANE_SUMS
    float4 lanes[LT_RECODE_TILES][LT_LANE_FOURS];
#endif
#if LT_TILE_COUNTS && LT_SRC == LATHE_CL_I2
    uint4 left[LT_RECODE_TILES][LT_LEFT_WORDS / 4];
#elif !LT_IS_MEAN || LT_TILE_COUNTS
    uint left[LT_RECODE_TILES][LT_LEFT_WORDS];
#endif
#if LT_TILE_COUNTS
    float steps[LT_RECODE_TILES][LT_TILE_ROWS + 1];
#endif
    float scales[LT_RECODE_TILES];
    uint firsts[LT_RECODE_TILES];
    uint seconds[LT_RECODE_TILES];
    uint is_odd;
} lt_tile_memory;

/* A work-item's share of a tile. */
typedef struct lt_share_of_tile {
    __global const uchar *from;
    uint elem;
    uint n_elems;
    uint tile; /* of the work-group */
    uint member;
    float scale;
} lt_share_of_tile;

#if LT_SRC == LATHE_CL_BITNET158

/* Words of whole tiles, and rounds of two for each work-item. */
#define LT_TRIT_ROUNDS ((LATHE_STAT_TILE / 20 + 2 * LT_SHARERS) / (2 * LT_SHARERS))

/* Which of a word's 20 elements are not 0: those of its first byte in the lowest bits, of the next
 * ones from bits 8, 16 and 24 on. With f_k = byte / 3^k, rounded down, digit k, f_k - 3 f_{k+1}, is
 * 1 where f_k and f_{k+1} are not both odd or both even; so the lowest bits of quotients do, as
 * lt_codes_of_trits finds them, from bit 8 on. */
uint lt_nonzero_of_two(uint bytes) {
    const uint odd = (bytes << 8 & 0x01000100) | (bytes * 171 & 0x02000200) |
                     (bytes * 114 & 0x04000400) | (bytes * 76 & 0x08000800) |
                     (bytes * 203 >> 2 & 0x10001000);
    return ~(odd ^ odd >> 1) & 0x1f001f00;
}

uint lt_nonzero_of_trits(uint word) {
    return lt_nonzero_of_two(word & 0x00ff00ff) >> 8 | lt_nonzero_of_two(word >> 8 & 0x00ff00ff);
}

#define LT_SHARE_WORDS (2 * LT_TRIT_ROUNDS)

/* A tile's last word: what is behind its bytes is 0, and what is in the last one behind its
 * elements. */
uint lt_last_trits(const lt_share_of_tile *share, uint byte, uint n_bytes) {
    const uint word = lt_trits_word(share->from, byte, n_bytes);
    const uint shift = 8 * (n_bytes - 1 - byte);
    const uint held = word >> shift & 0xff;
    uint power = 1;
    for (uint i = 0; i < share->n_elems % 5; i++) {
        power *= 3;
    }
    const uint kept = held % power + LATHE_BITNET158_BYTE_ZERO / power * power;
    return power == 1 ? word : (word & ~(0xffu << shift)) | kept << shift;
}

/* Loads the share's words of a tile, one out of LT_SHARERS: zeros behind the last one. */
void lt_load_trits(uint *words, const lt_share_of_tile *share, __global uint *report) {
    const uint n_bytes = (share->n_elems + 4) / 5;
    const uint n_words = (n_bytes + 3) / 4;
    __global const uint *from = (__global const uint *)share->from;
    uint bad = 0;
#pragma unroll
    for (uint i = 0; i < LT_SHARE_WORDS; i++) {
        const uint at = i * LT_SHARERS + share->member;
        words[i] = at + 1 < n_words ? from[at] : LATHE_BITNET158_BYTE_ZERO * 0x01010101u;
    }
#pragma unroll
    for (uint i = 0; i < LT_SHARE_WORDS; i++) {
        const uint at = i * LT_SHARERS + share->member;
        if (at + 1 == n_words) {
            lt_check_trits(lt_trits_word(share->from, 4 * at, n_bytes), share->elem + 20 * at,
                           report);
            words[i] = lt_last_trits(share, 4 * at, n_bytes);
        }
        bad |= lt_bad_trits(words[i]);
    }
    if (bad != 0) {
#pragma unroll
        for (uint i = 0; i < LT_SHARE_WORDS; i++) {
            lt_check_trits(words[i], share->elem + 20 * (i * LT_SHARERS + share->member), report);
        }
    }
}

#endif

#if !LT_IS_MEAN

/* What is the greatest magnitude of the share, as lt_greatest_code wants it. */
#if LT_SRC == LATHE_CL_I1

uint lt_share_top(const lt_share_of_tile *share, __global uint *report) {
    return 1;
}

#elif LT_SRC == LATHE_CL_BITNET158

uint lt_share_top(const lt_share_of_tile *share, __global uint *report) {
    uint words[LT_SHARE_WORDS];
    uint any = 0;
    lt_load_trits(words, share, report);
#pragma unroll
    for (uint i = 0; i < LT_SHARE_WORDS; i++) {
        any |= words[i] ^ LATHE_BITNET158_BYTE_ZERO * 0x01010101u;
    }
    return any != 0 ? 1 : 0;
}

#else

/* Vectors of 16 bytes that are loaded before any is looked at. */
#define LT_TOP_LOADS 4

uint lt_share_top(const lt_share_of_tile *share, __global uint *report) {
    const uint n_vectors = share->n_elems * LT_SRC_BITS / 128;
    __global const uint4 *from = (__global const uint4 *)share->from;
    uint top = 0;
    for (uint first = share->member; first < n_vectors; first += LT_TOP_LOADS * LT_SHARERS) {
        uint words[4 * LT_TOP_LOADS];
#pragma unroll
        for (uint i = 0; i < LT_TOP_LOADS; i++) {
            const uint at = first + i * LT_SHARERS;
            const uint4 four = at < n_vectors ? from[at] : (uint4)(0);
            words[4 * i] = four.x;
            words[4 * i + 1] = four.y;
            words[4 * i + 2] = four.z;
            words[4 * i + 3] = four.w;
        }
        top = lt_top_join(top, lt_words_top(words, 4 * LT_TOP_LOADS));
    }
    return top;
}

#endif

/* The statistic of a tile, by one work-item: of magnitudes. */
float lt_tile_stat(uint n_elems, uint tile, __local const lt_tile_memory *memory) {
    const uint top = lt_join_tops(memory->left[tile], LT_SHARERS);
    return lt_greatest_code(top) * memory->scales[tile];
}

#elif LT_SRC == LATHE_CL_I1

float lt_tile_stat(uint n_elems, uint tile, __local const lt_tile_memory *memory) {
    /* All lanes are the same: folding doubles them. */
    return lt_repeated(memory->scales[tile], n_elems / LATHE_STAT_LANES) * LATHE_STAT_LANES;
}

#else

float lt_tile_stat(uint n_elems, uint tile, __local const lt_tile_memory *memory) {
    return lt_fold_64_lanes(memory->lanes[tile]);
}

#if LT_SRC <= LATHE_CL_I4

/* Fours of lanes' codes that are loaded before they are added. */
#define LT_SUM_LOADS 16

/* The sums of four lanes. */
float4 lt_share_sums(const lt_share_of_tile *share, uint biased) {
    const uint n_rows = share->n_elems / LATHE_STAT_LANES;
    __global const lt_raw4 *from = (__global const lt_raw4 *)share->from + share->member;
    float4 sum = (float4)(0.0f);
    uint row = 0;
    for (; row + LT_SUM_LOADS <= n_rows; row += LT_SUM_LOADS) {
        lt_raw4 raw[LT_SUM_LOADS];
#pragma unroll
        for (uint i = 0; i < LT_SUM_LOADS; i++) {
            raw[i] = from[(row + i) * (LATHE_STAT_LANES / 4)];
        }
#pragma unroll
        for (uint i = 0; i < LT_SUM_LOADS; i++) {
            sum += lt_share4(raw[i], share->scale, biased);
        }
    }
    for (; row < n_rows; row++) {
        sum += lt_share4(from[row * (LATHE_STAT_LANES / 4)], share->scale, biased);
    }
    return sum;
}

#elif LT_SRC == LATHE_CL_I2

/* Counts what is not 0 in four rows of lanes: fours of bits. The first words have lanes 0, 2, ...
 * 14 of 16, of 32 and so on, the other ones the odd lanes. */
void lt_share_counts(const lt_share_of_tile *share, __local uint4 *left, __local uint *is_odd) {
    const uint n_rows = share->n_elems / LATHE_STAT_LANES;
    __global const uint4 *from = (__global const uint4 *)share->from;
    uint4 rows[4];
    uint4 twos = (uint4)(0);
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        const uint row = i * LT_SHARERS + share->member;
        rows[i] = row < n_rows ? from[row] : (uint4)(0);
    }
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        twos |= rows[i] & ~(rows[i] << 1);
        rows[i] = (rows[i] | rows[i] >> 1) & 0x55555555;
    }
    if (((twos.x | twos.y | twos.z | twos.w) & 0xaaaaaaaa) != 0) {
        *is_odd = 1;
    }
    const uint4 three = rows[0] + rows[1] + rows[2];
    const uint4 even = (three & 0x33333333) + (rows[3] & 0x33333333);
    const uint4 odd = (three >> 2 & 0x33333333) + (rows[3] >> 2 & 0x33333333);
    left[2 * share->member] = even;
    left[2 * share->member + 1] = odd;
}

/* Then a work-item adds up those of four lanes. */
void lt_sum_counts(uint member, __local const uint4 *fours, __local const float *steps,
                   __local float *lanes) {
    __local const uint *left = (__local const uint *)fours;
    const uint word = member / 2;
    const uint shift = 4 * (member % 2);
    uint sum = 0;
#pragma unroll
    for (uint i = 0; i < LT_SHARERS; i++) {
        sum += left[8 * i + word] >> shift & 0x0f0f0f0f;
    }
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        lanes[word % 4 * 16 + word / 4 + 2 * (member % 2) + 4 * i] = steps[sum >> 8 * i & 0xff];
    }
}

#else

/* Numbers of up to four bits that are counted in each bit: word i has their bits 2^i. */
typedef struct lt_tally {
    uint bits[4];
} lt_tally;

void lt_add_to_tally(lt_tally *tally, uint a, uint b) {
    const uint one = tally->bits[0];
    const uint two = (one & a) | (one & b) | (a & b);
    const uint four = tally->bits[1] & two;
    tally->bits[0] = one ^ a ^ b;
    tally->bits[1] ^= two;
    tally->bits[3] ^= tally->bits[2] & four;
    tally->bits[2] ^= four;
}

/* Counts what is not 0. Words that lie LT_SHARERS apart are of the same 20 lanes: work-item i's
 * begin with lane 20 i, so that fours of them are numbered across the work-items. */
void lt_share_counts(const lt_share_of_tile *share, __local uint *left, __global uint *report) {
    lt_tally tally = {{0, 0, 0, 0}};
    uint fours[5] = {0, 0, 0, 0, 0};
    uint words[LT_SHARE_WORDS];
    lt_load_trits(words, share, report);
#pragma unroll
    for (uint i = 0; i < LT_SHARE_WORDS; i += 2) {
        lt_add_to_tally(&tally, lt_nonzero_of_trits(words[i]), lt_nonzero_of_trits(words[i + 1]));
    }
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        const uint spread = tally.bits[i];
        const uint bits = (spread & 0x1f) | (spread >> 3 & 0x3e0) | (spread >> 6 & 0x7c00) |
                          (spread >> 9 & 0xf8000);
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            fours[k] |= ((bits >> 4 * k & 0xf) * 0x00204081u & 0x01010101) << i;
        }
    }
#pragma unroll
    for (uint k = 0; k < 5; k++) {
        left[5 * share->member + k] = fours[k];
    }
}

void lt_sum_counts(uint member, __local const uint *left, __local const float *steps,
                   __local float *lanes) {
    uint sum = 0;
#pragma unroll
    for (uint i = 0; i < 5; i++) {
        sum += left[LT_SHARERS * i + member];
    }
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        lanes[4 * member + i] = steps[sum >> 8 * i & 0xff];
    }
}

#endif
#endif

/* A work-item's part in a tile's statistic. A barrier is behind it. */
void lt_leave_share(const lt_share_of_tile *share, const lathe_launch *launch,
                    __local lt_tile_memory *memory, __global uint *report) {
#if !LT_IS_MEAN
    memory->left[share->tile][share->member] = lt_share_top(share, report);
#elif LT_SRC == LATHE_CL_I2
    lt_share_counts(share, memory->left[share->tile], &memory->is_odd);
#elif LT_SRC == LATHE_CL_BITNET158
    lt_share_counts(share, memory->left[share->tile], report);
#elif LT_SRC != LATHE_CL_I1
    memory->lanes[share->tile][share->member] = lt_share_sums(share, lt_opaque(LT_BIASED, launch));
#endif
}

lt_share_of_tile lt_share_in(const lathe_launch *launch, __global const uchar *src,
                             __global const float *scales, uint tile, uint member) {
    const lt_tile mine = lt_tile_of(launch, (uint)get_group_id(0) * LT_RECODE_TILES + tile);
    lt_share_of_tile share = {src, mine.elem, mine.n_elems, tile, member, 0};
    if (mine.n_elems > 0) {
        const lt_spot spot = lt_spot_of(&launch->src, mine.elem);
        share.from = src + lt_row_offset(&launch->src, spot.row) + lt_source_byte(spot.col);
        share.scale = lt_source_scale(&launch->src, scales, spot);
    }
    return share;
}

/* ---- tiles with something that the above is not for */

#define LT_ODD_TILES (LT_GROUP / LATHE_STAT_LANES) /* at a time */

typedef struct lt_odd_memory {
    uint lanes[LT_GROUP];
    uint eighths[LT_ODD_TILES * 8];
    uint found[LT_RECODE_TILES];
    uint again;
} lt_odd_memory;

/* The stats kernel's way, for LT_ODD_TILES tiles, from `first` of the work-group's on: lane by
 * lane. Leaves what is stored for a tile. */
void lt_odd_tiles(__global const uchar *src, __global const float *scales,
                  const lathe_launch *launch, uint first, uint item, __local lt_odd_memory *memory,
                  __global uint *report) {
    const lt_tile tile = lt_tile_of(launch, (uint)get_group_id(0) * LT_RECODE_TILES + first +
                                                item / LATHE_STAT_LANES);
    bool is_found = item >= LT_ODD_TILES;
    bool again = true;
    for (uint attempt = LT_AS_IS; again; attempt++) {
        memory->lanes[item] =
            lt_tile_lane(src, scales, launch, tile, item % LATHE_STAT_LANES, attempt, report);
        if (item == 0) {
            memory->again = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < LT_ODD_TILES * 8) {
            memory->eighths[item] =
                lt_fold8_local(memory->lanes + item / 8 * LATHE_STAT_LANES + item % 8, 8);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (!is_found) {
            const uint stat = lt_fold8_local(memory->eighths + 8 * item, 1);
            is_found = lt_is_finite(stat);
            if (is_found) {
                memory->found[first + item] = attempt == LT_SHRUNK ? stat | 0x80000000u : stat;
            } else {
                memory->again = 1;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        again = memory->again != 0;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_recode_stats(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global float *restrict stats, __global uint *reports, lathe_launch launch) {
    __local lt_tile_memory memory;
    __local lt_odd_memory odd;
    const uint item = (uint)get_local_id(0);
    const uint index = (uint)get_group_id(0) * LT_RECODE_TILES + item;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;

    if (item == 0) {
        memory.is_odd = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const lt_share_of_tile share =
        lt_share_in(&launch, src, src_scales, item / LT_SHARERS, item % LT_SHARERS);
    if (share.n_elems % LATHE_CL_RECODE_COLS != 0 || !lt_is_plain(share.scale)) {
        memory.is_odd = 1;
    } else {
        lt_leave_share(&share, &launch, &memory, report);
    }
    uint n_elems = 0; /* of the tile that the work-item stores the statistic of */
    if (item < LT_RECODE_TILES) {
        const lt_share_of_tile mine = lt_share_in(&launch, src, src_scales, item, 0);
        n_elems = mine.n_elems;
        memory.scales[item] = mine.scale;
#if LT_TILE_COUNTS
        lt_fill_steps(memory.steps[item], LT_TILE_ROWS, mine.scale);
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const bool is_odd = memory.is_odd != 0;
    if (is_odd) {
        for (uint first = 0; first < LT_RECODE_TILES; first += LT_ODD_TILES) {
            lt_odd_tiles(src, src_scales, &launch, first, item, &odd, report);
        }
    }
#if LT_TILE_COUNTS
    if (!is_odd) {
        lt_sum_counts(share.member, memory.left[share.tile], memory.steps[share.tile],
                      (__local float *)memory.lanes[share.tile]);
    }
    barrier(CLK_LOCAL_MEM_FENCE); /* not in the branch: see plain_mean.cl */
#endif
    if (item < LT_RECODE_TILES) {
        uint stat = 0;
        if (n_elems > 0) {
            stat = is_odd ? odd.found[item] : as_uint(lt_tile_stat(n_elems, item, &memory));
        }
        if (index < launch.n_tiles) {
            stats[index] = as_float(stat);
        }
        const uint2 words = lt_to_gather(stat);
        memory.firsts[item] = words.x;
        memory.seconds[item] = words.y;
    }
    if ((launch.flags & LATHE_CL_GATHER) != 0) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < LATHE_CL_SUM_PARTS) {
            lt_gather(reports + launch.sums, memory.firsts, memory.seconds, LT_RECODE_TILES, item);
        }
        if (get_group_id(0) == 0) {
            for (uint i = item; i < LATHE_CL_SUM_WORDS; i += LT_GROUP) {
                reports[launch.next_sums + i] = 0;
            }
        }
    }
}

#endif
