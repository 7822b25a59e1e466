/* SPDX-License-Identifier: Apache-2.0 */
/* Teams of the recode kernels: each has a part of a row, of which scopes, vectors and bytes are
 * whole, and holds its codes in registers, in local memory, or in both. */
#include "recode_codes.cl"

#if LT_HAS_RECODE

#ifdef LT_SMALL
#define LT_TEAM LATHE_CL_TEAM(LT_SRC, LT_DST, 1)
#define LT_TEAM_SCOPES LATHE_CL_TEAM_SCOPES(1)
#else
#define LT_TEAM LATHE_CL_TEAM(LT_SRC, LT_DST, 0)
#define LT_TEAM_SCOPES LATHE_CL_TEAM_SCOPES(0)
#endif
#define LT_TEAMS (LT_GROUP / LT_TEAM)
#define LT_OWNED ((LT_TEAM_SCOPES + LT_TEAM - 1) / LT_TEAM) /* scopes of a work-item */

/* Vectors of a work-item: one out of LT_TEAM each, so that memory is read side by side. */
#define LT_TEAM_ELEMS LATHE_CL_TEAM_ELEMS
#define LT_VECTORS (LT_TEAM_ELEMS / LT_TEAM / LT_VECTOR)

#define LT_STAGES LATHE_CL_RECODE_STAGES(LT_SRC, LT_DST)

/* Sums of codes that are 1, 0 and -1 are found by counting: of scopes of up to LT_SHORT_ELEMS
 * elements, and of one long one in a part. */
#define LT_COUNTS (LT_IS_MEAN && LT_STAGES && LT_SRC >= LATHE_CL_I2)
#define LT_SHORT_ELEMS LATHE_CL_COUNTED_ELEMS

/* Words of a part's codes there: padding keeps scopes and parts on different banks. */
#define LT_CODE_WORDS (LT_TEAM_ELEMS * LT_SRC_BITS / 32)
#define LT_CODE_ROOM (LT_CODE_WORDS / 32 * 36 + 4)

/* 16 lanes of a scope are kept so many words apart; all 64 of a long one side by side, which takes
 * the most words where long ones are the shortest. Scopes of up to LT_FEW_ELEMS elements have none,
 * as one work-item adds them up. */
#define LT_TEAM_LANES 20
#define LT_LANED_WORDS ((LT_TEAM_ELEMS / (LT_FEW_ELEMS + LATHE_STAT_LANES) + 1) * LT_TEAM_LANES)
#define LT_FEW_ELEMS (2 * LATHE_STAT_LANES)
#define LT_LONG_ROWS (LATHE_CL_LONG_ELEMS / LATHE_STAT_LANES) /* of lanes */
#define LT_LONG_WORDS (LT_TEAM_ELEMS / LT_LONG_ROWS)

/* Words for what work-items hand each other: a vector's statistic, counts and lanes, or the
 * target's codes before they become digits. */
#if LT_DST == LATHE_CL_BITNET158 && (LT_COUNTS || LT_SRC == LATHE_CL_I1)
#define LT_SHARED_WORDS (LT_TEAM_ELEMS / 16)
#elif LT_COUNTS
#define LT_SHARED_WORDS (4 * LT_TEAM + LATHE_STAT_LANES + 4)
#elif LT_IS_MEAN
#define LT_SHARED_WORDS (LT_LONG_WORDS > LT_LANED_WORDS ? LT_LONG_WORDS : LT_LANED_WORDS)
#else
#define LT_SHARED_WORDS 0
#endif

/* The greatest magnitudes of scopes are gathered in their maps. */
#define LT_GATHERS (!LT_IS_MEAN && LT_SRC != LATHE_CL_I1)

typedef struct lt_recode_memory {
#if LT_STAGES
    uint4 codes[LT_TEAMS][LT_CODE_ROOM / 4];
#endif
#if LT_SHARED_WORDS > 0
    uint4 shared[LT_TEAMS][LT_SHARED_WORDS / 4];
#endif
    lt_map maps[LT_TEAMS][LT_TEAM_SCOPES];
#if LT_COUNTS
    float steps[LT_TEAMS][LT_TEAM_ELEMS / LATHE_STAT_LANES + 1];
#endif
#if LT_SRC == LATHE_CL_BITNET158
    ushort table[256];
#endif
    uint is_odd;
} lt_recode_memory;

uint lt_padded_word(uint word) {
    return word + (word >> 5) * 4;
}

/* The source's codes of a vector. */
typedef struct lt_codes {
    uint words[LT_SRC_WORDS];
} lt_codes;

/* What a team holds between the steps. */
typedef struct lt_team {
    lt_block block;
    uint scope_elems; /* elements with one map */
    bool is_whole;    /* which all of the part has */
    uint member;      /* work-item of the team */
    uint n_members;
    __local uint *staged; /* codes in local memory, see LT_STAGES */
    __local uint4 *shared;
    __local lt_map *maps; /* of its scopes */
#if LT_SRC == LATHE_CL_BITNET158
    __local const ushort *table;
#endif
    lt_codes codes[LT_VECTORS];
} lt_team;

lt_codes lt_no_codes(void) {
    lt_codes codes;
    for (uint i = 0; i < LT_SRC_WORDS; i++) {
        codes.words[i] = 0;
    }
    return codes;
}

#if LT_SRC != LATHE_CL_BITNET158

lt_codes lt_load_codes(__global const uchar *at) {
    lt_codes codes;
#if LT_SRC_WORDS == 4
    const uint4 words = *(__global const uint4 *)at;
    codes.words[0] = words.x;
    codes.words[1] = words.y;
    codes.words[2] = words.z;
    codes.words[3] = words.w;
#elif LT_SRC_WORDS == 2
    const uint2 words = *(__global const uint2 *)at;
    codes.words[0] = words.x;
    codes.words[1] = words.y;
#elif LT_VECTOR * LT_SRC_BITS == 32
    codes.words[0] = *(__global const uint *)at;
#else
    codes.words[0] = *(__global const ushort *)at;
#endif
    return codes;
}

#endif

#if LT_STAGES

lt_codes lt_staged_codes(__local const uint *words, uint vector) {
    lt_codes codes;
    __local const uint *at = words + lt_padded_word(vector * LT_SRC_WORDS);
#pragma unroll
    for (uint i = 0; i < LT_SRC_WORDS; i++) {
        codes.words[i] = at[i];
    }
    return codes;
}

void lt_stage_codes(__local uint *words, uint vector, lt_codes codes) {
    __local uint *at = words + lt_padded_word(vector * LT_SRC_WORDS);
#if LT_SRC_WORDS == 4
    *(__local uint4 *)at = (uint4)(codes.words[0], codes.words[1], codes.words[2], codes.words[3]);
#else
    for (uint i = 0; i < LT_SRC_WORDS; i++) {
        at[i] = codes.words[i];
    }
#endif
}

#endif

#if LT_SRC == LATHE_CL_BITNET158

/* What bytes hold: ten bits as I2 has them, and a mark on those that no encoder emits. */
#define LT_BAD_BYTE 0x8000u

void lt_fill_codes(__local ushort *table, uint item, uint n_items) {
    for (uint i = item; i < 256; i += n_items) {
        table[i] = (ushort)((lt_codes_of_trits(i) & 0x3ff) |
                            (i < LATHE_BITNET158_BYTE_VALUES ? 0 : LT_BAD_BYTE));
    }
}

/* 16 bytes of base 3: 80 elements, five words. */
#define LT_UNPACKED_BYTES 16

/* A word at a part's byte, of which there are n_bytes, one by one; what is missing holds zeros. */
uint lt_trits_word(__global const uchar *from, uint byte, uint n_bytes) {
    uint word = LATHE_BITNET158_BYTE_ZERO * 0x01010101u;
    for (uint i = byte; i < min(byte + 4, n_bytes); i++) {
        const uint shift = 8 * (i - byte);
        word = (word & ~(0xffu << shift)) | (uint)from[i] << shift;
    }
    return word;
}

/* The upper bit of each byte that no encoder emits. */
uint lt_bad_trits(uint word) {
    const uint least = 0x80 - (LATHE_BITNET158_BYTE_VALUES - 0x80); /* carries into it */
    return ((word & 0x7f7f7f7f) + least * 0x01010101u) & word & 0x80808080;
}

/* Reports them; the word's first element is `elem`. */
void lt_check_trits(uint word, uint elem, __global uint *report) {
    const uint bad = lt_bad_trits(word);
    for (uint i = 0; bad != 0 && i < 4; i++) {
        if ((bad >> 8 * i & 0x80) != 0) {
            lt_fault(report, elem + 5 * i, LATHE_CL_FAULT_CORRUPT_DATA);
        }
    }
}

/* Loads the four words at a byte, wherever it lies: from five that are aligned, if all of these are
 * the part's. */
void lt_load_trit_words(uint *held, __global const uchar *from, uint byte, uint n_bytes) {
    const uint lead = (uint)(size_t)from & 3;
    if (byte + LT_UNPACKED_BYTES + 4 <= n_bytes) {
        __global const uint *words = (__global const uint *)(from + byte - lead);
        uint before = words[0];
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            const uint word = words[i + 1];
            held[i] = lt_pick_bytes(before, word, 0x3210 + 0x1111 * lead);
            before = word;
        }
    } else {
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            held[i] = lt_trits_word(from, byte + 4 * i, n_bytes);
        }
    }
}

/* A part's codes, two bits each, into local memory. */
void lt_unpack_part(const lt_team *team, __global const uchar *from, __global uint *report) {
    const lt_block *block = &team->block;
    const uint n_bytes = (block->n_cols + 4) / 5;
    for (uint byte = team->member * LT_UNPACKED_BYTES; byte < n_bytes;
         byte += team->n_members * LT_UNPACKED_BYTES) {
        uint held[4];
        uint five[5] = {0, 0, 0, 0, 0};
        uint marks = 0;
        lt_load_trit_words(held, from, byte, n_bytes);
#pragma unroll
        for (uint i = 0; i < LT_UNPACKED_BYTES; i++) {
            const uint codes = team->table[held[i / 4] >> 8 * (i % 4) & 0xff];
            const uint bit = 10 * i;
            marks |= codes;
            five[bit / 32] |= codes << bit % 32;
            if (bit % 32 > 22) {
                five[bit / 32 + 1] = codes >> (32 - bit % 32);
            }
        }
        if ((marks & LT_BAD_BYTE) != 0) {
            for (uint i = 0; i < 4; i++) {
                lt_check_trits(held[i], block->elem + 5 * (byte + 4 * i), report);
            }
        }
        const uint first = byte / LT_UNPACKED_BYTES * 5;
#pragma unroll
        for (uint i = 0; i < 5; i++) {
            if (16 * (first + i) < block->n_cols) {
                team->staged[lt_padded_word(first + i)] = five[i];
            }
        }
    }
}

#endif

#if LT_DST == LATHE_CL_BITNET158

/* Four bytes of base 3 from 40 bits, two to a code as I2 has them. */
uint lt_trits_of_codes(uint low, uint high) {
    const uint2 five = (uint2)((low & 0x3ff) | (low << 6 & 0x03ff0000),
                               (low >> 20 & 0x3ff) | low >> 14 & 0x00030000) |
                       (uint2)(0, high << 18);
    const uint2 digits = (five ^ 0x02aa02aa) - 0x01550155;
    const uint2 pairs = digits - (digits >> 2 & 0x00330033);
    const uint2 bytes = pairs - (pairs >> 4 & 0x000f000f) * 7 - (pairs >> 8 & 0x00030003) * 175;
    const uint2 joined = (bytes | bytes >> 8) & 0xffff;
    return joined.x | joined.y << 16;
}

/* Stores a part from its codes in local memory: words of the target, of which the first and the
 * last one may be others', too. */
void lt_pack_part(const lt_team *team, __global uchar *to) {
    __local const uint *words = (__local const uint *)team->shared;
    const uint n_cols = team->block.n_cols;
    const uint n_bytes = (n_cols + 4) / 5;
    const uint lead = (uint)(size_t)to & 3;
    for (uint at = 4 * team->member; at < lead + n_bytes; at += 4 * team->n_members) {
        const uint byte = max(at, lead) - lead;
        const uint count = min(at + 4 - lead, n_bytes) - byte;
        const uint bit = 10 * byte;
        const uint at_word = bit / 32;
        const uint first = words[at_word];
        const uint second = 16 * (at_word + 1) < n_cols ? words[at_word + 1] : 0;
        const uint low = (uint)(((ulong)second << 32 | first) >> bit % 32);
        uint high = second >> bit % 32; /* the rest of 40 bits, if words begin with the row */
        if (lead != 0 && 16 * (at_word + 2) < n_cols) {
            high |= words[at_word + 2] << 1 << (31 - bit % 32);
        }
        const uint bytes = lt_trits_of_codes(low, high & 0xff);
        if (count == 4) {
            *(__global uint *)(to + byte) = bytes;
        } else {
            lt_store_bytes(to + byte, bytes, count);
        }
    }
}

#else

void lt_store_codes(__global uchar *at, const uint *words) {
#if LT_DST_WORDS == 4
    *(__global uint4 *)at = (uint4)(words[0], words[1], words[2], words[3]);
#elif LT_DST_WORDS == 2
    *(__global uint2 *)at = (uint2)(words[0], words[1]);
#elif LT_VECTOR * LT_DST_BITS == 32
    *(__global uint *)at = words[0];
#else
    *(__global ushort *)at = (ushort)words[0];
#endif
}

#endif

#endif
