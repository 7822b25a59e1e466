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

/* Elements that become bytes of base 3 at once, and words for a part of these, before which one is
 * read. They lie where the source's codes were or, where there were none, behind the target's, or
 * have room of their own. */
#define LT_PACKED_ELEMS 80
#define LT_PACKED_WORDS ((LT_TEAM_ELEMS + LT_PACKED_ELEMS - 1) / LT_PACKED_ELEMS * 4 + 4)

/* Whether the source's codes become digits while they are packed, without being the target's codes
 * before that. */
#define LT_PACKS_DIGITS (LT_DST == LATHE_CL_BITNET158 && LT_SRC <= LATHE_CL_I4)

/* Words for what work-items hand each other: a vector's statistic, counts and lanes, or the
 * target's codes before they become bytes of base 3, or these. */
#if LT_DST == LATHE_CL_BITNET158 && LT_SRC == LATHE_CL_I1
#define LT_SHARED_WORDS (LT_TEAM_ELEMS / 16 + LT_PACKED_WORDS)
#elif LT_DST == LATHE_CL_BITNET158 && LT_COUNTS
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
    uint is_odd;
} lt_recode_memory;

uint lt_padded_word(uint word) {
    return word + (word >> 5) * 4;
}

/* The source's codes of a vector. */
typedef struct lt_codes {
    uint words[LT_SRC_WORDS];
} lt_codes;

#if LT_SRC == LATHE_CL_BITNET158
/* 16 bytes of base 3: 80 elements, five words; and so many times for each work-item. */
#define LT_UNPACKED_BYTES 16
#define LT_UNPACKED_ELEMS (5 * LT_UNPACKED_BYTES)
#define LT_UNPACKED ((LT_TEAM_ELEMS / LT_TEAM + LT_UNPACKED_ELEMS - 1) / LT_UNPACKED_ELEMS)
#endif

/* What a team holds between the steps. */
typedef struct lt_team {
    lt_block block;
    uint scope_elems; /* elements with one map */
    bool is_whole;    /* which all of the part has */
    uint member;      /* work-item of the team */
    uint n_members;
    __local uint *staged; /* codes in local memory, see LT_STAGES */
    __local uint4 *shared;
#if LT_DST == LATHE_CL_BITNET158
    __local uint4 *packed;
#endif
    __local lt_map *maps; /* of its scopes */
#if LT_SRC == LATHE_CL_BITNET158
    uint trits[LT_UNPACKED][5];
    uint lead; /* bytes in the first of them that are not the part's */
#else
    lt_codes codes[LT_VECTORS];
#endif
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

/* The codes of two bytes, each in the lower half of 16 bits, as lt_codes_of_trits finds them but
 * for fields' upper bits, which are the other way round. In `marks` LT_BAD_PAIR gets a bit where a
 * byte is one that no encoder emits. */
#if LT_HAS_PTX

#define LT_BAD_PAIR 0x00040004u

uint lt_fma_halves(uint a, uint b, uint c) {
    uint result;
    __asm__("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
}

/* In F16, two at a time: 1024 + x is x in the lower bits. With y = byte + 729, which moves
 * quotients by whole numbers, y times what is just above 1 / 3^k, plus 1023.5, is rounded to 1024
 * and y / 3^k, rounded down: exact for all bytes, as multiples lie a little above a half. The last
 * quotient is 9, 10 or 11, and 12 of the bytes from 243 on. */
uint lt_fields_of_pair(uint bytes, uint *marks) {
    const uint center = 0x63ff63ff;
    const uint number = bytes | 0x64006400;
    const uint moved = lt_fma_halves(number, 0x3c003c00, 0xdc9cdc9c);
    const uint thirds = lt_fma_halves(moved, 0x35563556, center);
    const uint ninths = lt_fma_halves(moved, 0x2f1d2f1d, center);
    const uint parts27 = lt_fma_halves(moved, 0x28be28be, center);
    const uint parts81 = lt_fma_halves(moved, 0x22532253, center);
    const uint excess = 0x6400 * (1 + 1 + 4 + 16 + 64) + 243 + 4 * 81 + 16 * 27 + 64 * 9 - 0x155;
    *marks |= parts81;
    return number + thirds + 4 * ninths + (16 * parts27 + (64 * parts81 - excess * 0x00010001u));
}

#else

#define LT_BAD_PAIR 0x01000100u

uint lt_fields_of_pair(uint bytes, uint *marks) {
    *marks |= bytes + (256 - LATHE_BITNET158_BYTE_VALUES) * 0x00010001u;
    return lt_codes_of_trits(bytes) ^ 0x02aa02aa;
}

#endif

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

/* Loads a work-item's words of a part: units of five that are aligned, of which four are wanted.
 * Behind the part's whole words come its last bytes and zeros, as often as there is room: what is
 * wrong with them has been reported of the first of them. */
void lt_load_trit_words(lt_team *team, __global const uchar *from) {
    const uint n_bytes = (team->block.n_cols + 4) / 5;
    const uint lead = (uint)(size_t)from & 3;
    const uint n_words = (lead + n_bytes) / 4;
    __global const uint *words = (__global const uint *)(from - lead);
    uint last = LATHE_BITNET158_BYTE_ZERO * 0x01010101u;
    if ((lead + n_bytes) % 4 != 0) {
        last = lt_trits_word(from, 4 * n_words - lead, n_bytes);
    }
#pragma unroll
    for (uint i = 0; i < LT_UNPACKED; i++) {
        const uint first = 4 * (i * team->n_members + team->member);
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            /* The fifth is wanted where bytes begin no word. */
            team->trits[i][k] =
                first + k < n_words && (k < 4 || lead != 0) ? words[first + k] : last;
        }
    }
    team->lead = lead;
}

/* The lower or upper two bytes, 16 bits apart. */
uint lt_pair_of_bytes(uint word, uint is_upper) {
    return lt_pick_bytes(word, 0, is_upper ? 0x4342 : 0x4140);
}

/* A part's codes, two bits each, into local memory. */
void lt_unpack_part(const lt_team *team, __global uint *report) {
    const lt_block *block = &team->block;
#pragma unroll
    for (uint unit = 0; unit < LT_UNPACKED; unit++) {
        const uint first = 5 * (unit * team->n_members + team->member); /* word of codes */
        uint held[4];
        uint five[5] = {0, 0, 0, 0, 0};
        uint marks = 0;
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            held[i] = lt_pick_bytes(team->trits[unit][i], team->trits[unit][i + 1],
                                    0x3210 + 0x1111 * team->lead);
        }
#pragma unroll
        for (uint i = 0; i < LT_UNPACKED_BYTES / 2; i++) {
            const uint two = lt_fields_of_pair(lt_pair_of_bytes(held[i / 2], i % 2), &marks);
            const uint codes = two - (two >> 16) * ((1 << 16) - (1 << 10));
            const uint bit = 20 * i;
            five[bit / 32] += codes << bit % 32;
            if (bit % 32 > 12) {
                five[bit / 32 + 1] = codes >> (32 - bit % 32);
            }
        }
        if ((marks & LT_BAD_PAIR) != 0) {
            for (uint i = 0; i < 4; i++) {
                lt_check_trits(held[i], block->elem + 16 * first + 20 * i, report);
            }
        }
        /* Words behind the part's end have room. */
        if (16 * first < block->n_cols) {
#pragma unroll
            for (uint i = 0; i < 5; i++) {
                team->staged[lt_padded_word(first + i)] = five[i] ^ 0xaaaaaaaa;
            }
        }
    }
}

#endif

#if LT_DST == LATHE_CL_BITNET158

#if LT_SRC <= LATHE_CL_I4

/* What a byte's factors are in a product whose upper byte is the sum of all: below it no sum has a
 * carry, as none is beyond 242. */
#define LT_FACTORS(a, b, c, d) ((uint)(a) << 24 | (b) << 16 | (c) << 8 | (d))

/* The upper bytes of four words. */
uint lt_upper_bytes(uint a, uint b, uint c, uint d) {
    return lt_pick_bytes(lt_pick_bytes(a, b, 0x0073), lt_pick_bytes(c, d, 0x0073), 0x5410);
}

#endif

#if LT_SRC == LATHE_CL_I8

/* Four bytes of base 3 from 20 digits, a byte each. */
uint lt_pack_bytes(const uint *digits) {
    return lt_upper_bytes(digits[0] * LT_FACTORS(1, 3, 9, 27) + digits[1] * LT_FACTORS(81, 0, 0, 0),
                          digits[1] * LT_FACTORS(0, 1, 3, 9) + digits[2] * LT_FACTORS(27, 81, 0, 0),
                          digits[2] * LT_FACTORS(0, 0, 1, 3) + digits[3] * LT_FACTORS(9, 27, 81, 0),
                          digits[3] * LT_FACTORS(0, 0, 0, 1) +
                              digits[4] * LT_FACTORS(3, 9, 27, 81));
}

/* LT_PACKED_ELEMS elements' digits to bytes. */
uint4 lt_pack_codes(const uint *words) {
    return (uint4)(lt_pack_bytes(words), lt_pack_bytes(words + 5), lt_pack_bytes(words + 10),
                   lt_pack_bytes(words + 15));
}

#elif LT_SRC == LATHE_CL_I4

/* Eight bytes of base 3 from 40 digits, four bits each. */
uint2 lt_pack_nibbles(const uint *digits) {
    uint even[5];
    uint odd[5];
#pragma unroll
    for (uint i = 0; i < 5; i++) {
        even[i] = digits[i] & 0x0f0f0f0f;
        odd[i] = digits[i] >> 4 & 0x0f0f0f0f;
    }
    const uint low =
        lt_upper_bytes(even[0] * LT_FACTORS(1, 9, 81, 0) + odd[0] * LT_FACTORS(3, 27, 0, 0),
                       odd[0] * LT_FACTORS(0, 0, 1, 9) + even[0] * LT_FACTORS(0, 0, 0, 3) +
                           even[1] * LT_FACTORS(27, 0, 0, 0) + odd[1] * LT_FACTORS(81, 0, 0, 0),
                       even[1] * LT_FACTORS(0, 1, 9, 81) + odd[1] * LT_FACTORS(0, 3, 27, 0),
                       odd[1] * LT_FACTORS(0, 0, 0, 1) + even[2] * LT_FACTORS(3, 27, 0, 0) +
                           odd[2] * LT_FACTORS(9, 81, 0, 0));
    const uint high =
        lt_upper_bytes(even[2] * LT_FACTORS(0, 0, 1, 9) + odd[2] * LT_FACTORS(0, 0, 3, 27) +
                           even[3] * LT_FACTORS(81, 0, 0, 0),
                       odd[3] * LT_FACTORS(1, 9, 81, 0) + even[3] * LT_FACTORS(0, 3, 27, 0),
                       even[3] * LT_FACTORS(0, 0, 0, 1) + odd[3] * LT_FACTORS(0, 0, 0, 3) +
                           even[4] * LT_FACTORS(9, 81, 0, 0) + odd[4] * LT_FACTORS(27, 0, 0, 0),
                       odd[4] * LT_FACTORS(0, 1, 9, 81) + even[4] * LT_FACTORS(0, 0, 3, 27));
    return (uint2)(low, high);
}

/* LT_PACKED_ELEMS elements' digits to bytes. */
uint4 lt_pack_codes(const uint *words) {
    return (uint4)(lt_pack_nibbles(words), lt_pack_nibbles(words + 5));
}

#else

/* Three bytes of base 3, ten bits apart, from 30 bits, two to a code as I2 has them; what is above
 * them is anything. Codes as digits are 1 too great: so are bytes, by 121. Of a byte's digits a, b,
 * c, d and e first a + 3 b and c + 3 d are made, in fours of bits; then 7 times what is above the
 * first four, and 63 times e, are what it is too much. */
uint lt_trits_of_codes(uint codes) {
    const uint digits = codes ^ 0xaaaaaaaa;
    const uint pairs = digits - (digits >> 2 & 0x0330cc33);
    return pairs - (pairs >> 4 & 0x03f0fc3f) * 7 - (pairs >> 8 & 0x00300c03) * 63 - 0x0791e479;
}

/* LT_PACKED_ELEMS elements' codes to bytes. */
uint4 lt_pack_codes(const uint *words) {
    uint trits[6];
    trits[0] = lt_trits_of_codes(words[0]);
#pragma unroll
    for (uint i = 1; i < 5; i++) {
        trits[i] =
            lt_trits_of_codes((uint)(((ulong)words[i] << 32 | words[i - 1]) >> (32 - 2 * i)));
    }
    trits[5] = lt_trits_of_codes(words[4] >> 22);
    const uint4 low = (uint4)(lt_pick_bytes(trits[0], trits[0] >> 2, 0x0050),
                              lt_pick_bytes(trits[1] >> 2, trits[1] >> 4, 0x0061),
                              lt_pick_bytes(trits[2] >> 4, trits[3], 0x0042),
                              lt_pick_bytes(trits[4], trits[4] >> 2, 0x0050));
    const uint4 high = (uint4)(lt_pick_bytes(trits[0] >> 4, trits[1], 0x4200),
                               lt_pick_bytes(trits[2], trits[2] >> 2, 0x5000),
                               lt_pick_bytes(trits[3] >> 2, trits[3] >> 4, 0x6100),
                               lt_pick_bytes(trits[4] >> 4, trits[5], 0x4200));
    return (uint4)(lt_pick_bytes(low.x, high.x, 0x7610), lt_pick_bytes(low.y, high.y, 0x7610),
                   lt_pick_bytes(low.z, high.z, 0x7610), lt_pick_bytes(low.w, high.w, 0x7610));
}

#endif

#if LT_PACKS_DIGITS

/* Words of 16 elements: what has one map. */
#define LT_RUN_WORDS (16 * LT_SRC_BITS / 32)

/* The digits of 16 of a part's elements. */
void lt_recode_run(uint *out, const lt_team *team, uint run, lt_map map) {
    __local const uint *at = team->staged + lt_padded_word(run * LT_RUN_WORDS);
#pragma unroll
    for (uint i = 0; i < LT_RUN_WORDS; i++) {
        out[i] = lt_digits(at[i], map);
    }
}

/* Those behind its end. */
void lt_zero_run(uint *out) {
    for (uint i = 0; i < LT_RUN_WORDS; i++) {
        out[i] = LT_SRC_ONES;
    }
}

/* Packs a part from the source's codes in local memory. */
void lt_pack_part(const lt_team *team, const lathe_launch *launch) {
    const lt_map first = team->maps[0];
    for (uint i = team->member; i * LT_PACKED_ELEMS < team->block.n_cols; i += team->n_members) {
        uint words[5 * LT_RUN_WORDS];
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            const uint col = 16 * (5 * i + k);
            if (col >= team->block.n_cols) {
                lt_zero_run(words + k * LT_RUN_WORDS);
            } else if (team->is_whole) {
                lt_recode_run(words + k * LT_RUN_WORDS, team, 5 * i + k, first);
            } else {
                lt_recode_run(words + k * LT_RUN_WORDS, team, 5 * i + k,
                              team->maps[lt_div_32(col, &launch->row_scopes)]);
            }
        }
        team->packed[i] = lt_pack_codes(words);
    }
}

#else

/* A vector's codes. */
void lt_put_words(__local uint *at, const uint *words) {
    *(__local uint4 *)at = (uint4)(words[0], words[1], words[2], words[3]);
}

/* Packs a part from its codes in local memory. */
void lt_pack_part(const lt_team *team, const lathe_launch *launch) {
    __local const uint *words = (__local const uint *)team->shared;
    const uint n_words = team->block.n_cols / 16;
    for (uint i = team->member; i * LT_PACKED_ELEMS < team->block.n_cols; i += team->n_members) {
        uint held[5];
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            held[k] = 5 * i + k < n_words ? words[5 * i + k] : 0;
        }
        team->packed[i] = lt_pack_codes(held);
    }
}

#endif

/* Stores it: words of the target and, at either end, bytes of one that is others', too. */
void lt_store_packed(const lt_team *team, __global uchar *to) {
    __local const uint *words = (__local const uint *)team->packed;
    const uint lead = (uint)(size_t)to & 3;
    const uint end = lead + (team->block.n_cols + 4) / 5;
    const uint n_words = end / 4;
    const uint picks = 0x7654 - 0x1111 * lead;
    __global uint *out = (__global uint *)(to - lead);
    /* From I2 a compiler takes ten registers more where there are two loops. */
    if (lead == 0 && LT_SRC != LATHE_CL_I2) {
        for (uint i = team->member; i < n_words; i += team->n_members) {
            out[i] = words[i];
        }
    } else {
        for (uint i = team->member + (lead != 0 ? 1 : 0); i < n_words; i += team->n_members) {
            /* Of the first one the word before it is not there, nor looked at. */
            out[i] = lt_pick_bytes(words[(int)i - 1], words[i], picks);
        }
    }
    if (team->member == 0 || (team->member == 1 && n_words > 0)) {
        const uint i = team->member == 0 ? 0 : n_words;
        const uint first = i == 0 ? lead : 0;
        const uint count = min(end - 4 * i, 4u) - first;
        if (count < 4) {
            lt_store_bytes((__global uchar *)(out + i) + first,
                           lt_pick_bytes(words[(int)i - 1], words[i], picks) >> 8 * first, count);
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
