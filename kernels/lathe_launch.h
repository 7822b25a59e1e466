/* SPDX-License-Identifier: Apache-2.0 */
/* What the host tells a kernel launch: shared by C and OpenCL C, so everything is a 64-bit unsigned
 * integer, whose layout both agree on. */
#ifndef LATHE_LAUNCH_H
#define LATHE_LAUNCH_H

#ifdef __OPENCL_VERSION__
typedef ulong lathe_u64;
#else
#include <stdint.h>
typedef uint64_t lathe_u64;
#endif

/* The numbers of the dtypes in build options, -DLT_SRC and -DLT_DST: those of lathe_dtype. */
#define LATHE_CL_F32 1
#define LATHE_CL_F16 2
#define LATHE_CL_BF16 3
#define LATHE_CL_I8 4
#define LATHE_CL_I4 5
#define LATHE_CL_I2 6
#define LATHE_CL_I1 7
#define LATHE_CL_BITNET158 8

/* Bits of an element; BITNET158 has no whole number. */
#define LATHE_CL_BITS(dtype)                                                                       \
    ((dtype) == LATHE_CL_F32 ? 32 : (dtype) <= LATHE_CL_BF16 ? 16 : 64 >> ((dtype)-1))

/* A divisor for 32-bit numerators, with which division is a multiplication. magic 0: `by` is 2^31
 * or more, and the numerator, of up to 64 bits, less than twice that. by 0: not used. */
typedef struct lathe_div {
    lathe_u64 by;
    lathe_u64 magic; /* multiplier, first shift << 32, second shift << 40 */
} lathe_div;

/* How the elements of a launch lie on one side of a conversion: they are consecutive, the first one
 * in column first_col of row 0, and numbers of elements, rows and columns fit in 32 bits. Rows that
 * do not (2^31 elements and more) are given without a part of row 0 that lies before the launch.
 * Offsets are modulo 2^64. */
typedef struct lathe_side {
    lathe_u64 data_offset;  /* bytes of the buffer before row 0 */
    lathe_u64 scale_offset; /* floats of the buffer before row 0's first scale */
    lathe_u64 first_col;
    lathe_u64 row_bytes;
    lathe_u64 scales_per_row;
    lathe_u64 scale_phase; /* elements of row 0's first scale that were left out */
    lathe_div row_elems;
    lathe_div scale_elems; /* 0: one scale for all, or none */
} lathe_side;

/* Bits of lathe_launch.flags. */
#define LATHE_CL_NONFINITE_ERROR 1 /* a NaN or infinity that is met is a fault, see below */
#define LATHE_CL_STRICT 2          /* a value that decoding does not give back is a fault */
#define LATHE_CL_SURVEY 4          /* FAST: count saturated elements, look for non-finite ones */
#define LATHE_CL_OWN_SCALES 8      /* block: find the scales and store them */
#define LATHE_CL_FAST 16           /* stats: scopes are sampled (numerics.md) */
#define LATHE_CL_CHECK_BYTES 32    /* a source byte that no encoder emits is a fault */
#define LATHE_CL_SRC_VECTOR 64     /* block, stats: vectors of elements can be loaded at once */
#define LATHE_CL_DST_VECTOR 128    /* whole units of the target can be stored at once */
#define LATHE_CL_LINEAR 256        /* block: for the linear kernel */
/* stream: rows of whole units; neither STRICT nor SURVEY. recode: parts are rows, and scopes have a
 * scale each, or one for all */
#define LATHE_CL_REGULAR 512
#define LATHE_CL_GATHER 1024 /* stats: the tiles are of one scope, and added up, see fold.cl */
#define LATHE_CL_PLAIN 2048  /* block, with LINEAR: the plain kernel can go first */
#define LATHE_CL_OWN 4096    /* with PLAIN: an own kernel in its place */
#define LATHE_CL_ROWS 8192   /* with PLAIN: the rows kernel in its place */
#define LATHE_CL_LONG 16384  /* rows: an odd one is reported, as no kernel comes behind */
#define LATHE_CL_WHOLE 32768 /* with OWN: all groups are whole and LATHE_CL_OWN_SCOPE elements */
#define LATHE_CL_FLAT 65536  /* block: for the flat kernel */

/* NaNs and infinities are met by what takes statistics, and by a survey. */

/* One launch. Convert: n_rows rows of n_cols elements, at most LATHE_CL_MAX_ELEMS in all, which
 * follow each other on both sides. Stats: n_tiles tiles of a tiling; the fields after block_scopes
 * say which, and the source's element 0 is the first tile's first. */
typedef struct lathe_launch {
    lathe_side src;
    lathe_side dst; /* not for stats */
    lathe_u64 flags;
    lathe_u64 report;     /* index of the launch's report, in units of LATHE_CL_REPORT_WORDS */
    lathe_u64 fault_base; /* the element that fault 0 stands for */
    lathe_u64 n_rows;
    lathe_u64 n_cols;
    lathe_u64 n_units;    /* stream: units; block: blocks */
    lathe_div row_units;  /* stream: units of a row; block: blocks of a row */
    lathe_u64 block_rows; /* block: rows of a block; 1 where rows are cut */
    lathe_u64 block_cols;
    lathe_div row_parts;    /* block of several rows: vectors of a row */
    lathe_div row_outputs;  /* the same, and BITNET158: units of a row */
    lathe_div row_scopes;   /* the same: scales of a row */
    lathe_u64 block_bytes;  /* plain: a full block's on the target's side */
    lathe_u64 block_scopes; /* plain: a full block's scales */
    lathe_u64 flat_blocks;  /* flat: blocks of the block kernel that one of its own takes */
    lathe_div flat_bytes;   /* and a row's bytes on the target's side; by 0: no bits are unused */
    lathe_u64 n_tiles;
    lathe_u64 n_elems;     /* recode, REGULAR: of all rows, of which the last one may be short */
    lathe_u64 scope_elems; /* recode: elements with one map, what row_scopes divides by */
    lathe_u64 tiling_row;  /* elements of a row that begins its own scopes */
    lathe_u64 tile_origin; /* what lies before the launch in the first tile's row */
    lathe_u64 tile_phase;  /* and in its scope */
    lathe_u64 scope_phase; /* scopes before the first tile's in its row */
    lathe_div tiles_per_scope;
    lathe_div scopes_per_row;
    lathe_u64 sums;      /* GATHER: words among the reports, of zeros */
    lathe_u64 next_sums; /* and those that the launch sets to 0, for the next one */
} lathe_launch;

/* One tensor of a table of them: what lies before it beyond what its launch, of which several may
 * share one, says: modulo 2^64. */
typedef struct lathe_entry {
    lathe_u64 first_group; /* work-groups before its own */
    lathe_u64 launch;      /* index */
    lathe_u64 home;        /* which of the launch's buffers it lies in */
    lathe_u64 src_data;    /* bytes */
    lathe_u64 src_scales;  /* floats */
    lathe_u64 dst_data;
    lathe_u64 dst_scales; /* stats: tiles before its own */
    lathe_u64 n_known;    /* convert: the target's scales that the table has, and ... */
    lathe_u64 known;      /* ... those before them */
} lathe_entry;

/* Buffers that a table's tensors may lie in: so many for each side, and for its scales. Arguments
 * stay below the 1024 bytes that every device takes. */
#define LATHE_CL_HOMES 16

/* What a launch reports, in 32-bit words. Word 0: the least (element - fault_base) *
 * LATHE_CL_FAULT_KINDS + fault kind, LATHE_CL_NO_FAULT if there is none. Word 1: saturated
 * elements; of recode launches, whether there is something left for the recode_odd kernel, which
 * shares their report. */
#define LATHE_CL_REPORT_WORDS 2
#define LATHE_CL_NO_FAULT 0xffffffffu
#define LATHE_CL_FAULT_NON_FINITE 0u
#define LATHE_CL_FAULT_DATA_LOSS 1u
#define LATHE_CL_FAULT_CORRUPT_DATA 2u
#define LATHE_CL_FAULT_KINDS 3u

/* Elements between fault_base and a launch's first one: a corrupt byte is reported at its first
 * element, which may lie before that. */
#define LATHE_CL_FAULT_MARGIN 8

/* The most elements of a launch: a fault is then one 32-bit word, whose minimum every OpenCL 1.2
 * device can take. */
#define LATHE_CL_MAX_ELEMS ((5u << 28) - 64)

/* What the tiles of a scope come to (fold.cl), in words: a maximum, and buckets from exponent
 * LATHE_CL_SUM_LOWEST on, up to that of a tile's greatest sum times LATHE_STAT_GROW. Each part of
 * a bucket gets less than 2^LATHE_CL_SUM_BITS from a tile and from a work-group, so that the words
 * do for 2^18 of them. */
#define LATHE_CL_SUM_LOWEST (-149)
#define LATHE_CL_SUM_BUCKETS 270
#define LATHE_CL_SUM_BITS 12
#define LATHE_CL_SUM_PARTS 5
#define LATHE_CL_SUM_WORDS (1 + LATHE_CL_SUM_BUCKETS * LATHE_CL_SUM_PARTS)

/* A tile's statistic is one float. It is never negative, so a minus sign says that it is to be
 * multiplied by LATHE_STAT_GROW: the sum overflowed F32. */

/* Work-items of a group: a power of two from 64 to this. */
#define LATHE_CL_GROUP 256

/* The most elements of a block of the block kernel, which its work-items hold as F32 in vectors of
 * LATHE_CL_WIDTH, and the most scales that it finds for them. */
#define LATHE_CL_BLOCK_ELEMS 4096
#define LATHE_CL_BLOCK_SCOPES 128

/* The most scales of a block of the flat kernel. */
#define LATHE_CL_FLAT_SCOPES 1024

/* Work-items of a group of the plain kernel, which takes a block; 0: the pair has none. */
#define LATHE_CL_PLAIN_ITEMS(src, dst)                                                             \
    ((dst) < LATHE_CL_I8 || (src) > LATHE_CL_BF16 ||                                               \
             ((src) == LATHE_CL_F32 && (dst) != LATHE_CL_I1 && (dst) != LATHE_CL_BITNET158)        \
         ? 0                                                                                       \
         : ((src) == LATHE_CL_F32 ? 256 : 128))

/* Whether a pair has the own kernels, which find the scales of groups of LATHE_CL_OWN_SCOPE
 * elements, or a half or a quarter of that; and whether it has the trits kernel, and an own kernel
 * for whole groups of that size. */
#define LATHE_CL_HAS_OWN(src, dst) ((src) <= LATHE_CL_BF16 && (dst) == LATHE_CL_BITNET158)
#define LATHE_CL_OWN_SCOPE 128
#define LATHE_CL_HAS_TRITS(src, dst) (LATHE_CL_HAS_OWN(src, dst) && (src) != LATHE_CL_F32)

/* Whether a pair has the rows kernels. Where the scale is no mean, work-items hold a row: in
 * rows_few LATHE_CL_ROW_SHARE elements each, in rows_many twice as many, with as many work-items as
 * a row needs, LATHE_CL_GROUP at most; in rows_most, twice as many with LATHE_CL_ROW_MANY. Where it
 * is one, LATHE_CL_ROW_ROOM bytes of local memory do, and what lies around, any number of elements
 * for each work-item, of which rows_few has LATHE_CL_GROUP at most, rows_many LATHE_CL_ROW_MANY;
 * rows_most holds longer ones, if there is one: of 16 bits, its groups are too few. */
#define LATHE_CL_HAS_ROWS(src, dst) ((src) <= LATHE_CL_BF16 && (dst) >= LATHE_CL_I8)
#define LATHE_CL_HAS_MOST(src, dst) ((src) == LATHE_CL_F32 || (dst) <= LATHE_CL_I2)
#define LATHE_CL_ROW_SHARE(src) (512 / LATHE_CL_BITS(src))
#define LATHE_CL_ROW_MANY 512
#define LATHE_CL_ROW_ROOM(dst) ((dst) == LATHE_CL_BITNET158 ? 45056u : 32768u)
#define LATHE_CL_ROW_MARGIN 64u

/* Rows that are longer, up to so many elements, are read twice by rows_long, which has
 * LATHE_CL_ROW_MANY work-items, too, each of which loads so many sixteens of bytes at once: many,
 * so that registers do for few work-groups, whose rows are in the cache then. An H200's 132
 * multiprocessors are at 30 MB with one group each of 53,248 F32, or two of 28,672. And its bytes
 * of local memory, for a mean: digits or bits and, before them, the lanes of all tiles. */
#define LATHE_CL_ROW_LONGEST (20 * LATHE_STAT_TILE)
#define LATHE_CL_FAR_QUADS(src, dst)                                                               \
    ((src) == LATHE_CL_F32 ? ((dst) >= LATHE_CL_I1 ? 10 : 14) : ((dst) >= LATHE_CL_I1 ? 5 : 7))
#define LATHE_CL_FAR_ROOM (LATHE_CL_ROW_LONGEST / 4 + LATHE_CL_ROW_MARGIN)

/* Elements of a unit: what one work-item stores at once, whole bytes. 16 bytes at most on either
 * side, because wider ones are taken apart into accesses that do not lie side by side. */
#define LATHE_CL_UNIT(src, dst)                                                                    \
    ((dst) == LATHE_CL_BITNET158                                                                   \
         ? 20                                                                                      \
         : ((dst) == LATHE_CL_F32 || ((src) == LATHE_CL_F32 && (dst) <= LATHE_CL_I8) ? 4 : 8))
#define LATHE_CL_WIDTH(src, dst) (LATHE_CL_UNIT(src, dst) == 8 ? 8 : 4)
#define LATHE_CL_UNIT_F32 4
#define LATHE_CL_UNIT_F16 8
#define LATHE_CL_UNIT_BF16 8
#define LATHE_CL_UNIT_I8 8
#define LATHE_CL_UNIT_I4 8
#define LATHE_CL_UNIT_I2 8
#define LATHE_CL_UNIT_I1 8
#define LATHE_CL_UNIT_BITNET158 20

/* The stream kernel gives LATHE_CL_GROUP units to a work-group at a time, so many times. Memory
 * likes results best that are written in the order of their addresses, so that few are on their way
 * at once: floats are, twice; from I8 to F32, once. What is smaller, or takes more to find, is
 * worth more steps. */
#define LATHE_CL_PAIR_STEPS(src, dst)                                                              \
    ((dst) == LATHE_CL_BITNET158                       ? 1                                         \
     : (src) == LATHE_CL_I8 && (dst) == LATHE_CL_F32   ? 1                                         \
     : (src) == LATHE_CL_BITNET158                     ? ((dst) == LATHE_CL_F32 ? 4 : 8)           \
     : (src) == LATHE_CL_F32 || (dst) <= LATHE_CL_BF16 ? 2                                         \
                                                       : 4)

/* Bits of a code as the recode kernels have it; and whether they have a source's in local memory:
 * sums need a lane's, which come from different vectors, and bytes of base 3 begin and end inside
 * vectors. */
#define LATHE_CL_CODE_BITS(dtype) ((dtype) == LATHE_CL_BITNET158 ? 2 : LATHE_CL_BITS(dtype))
#define LATHE_CL_RECODE_STAGES(src, dst)                                                           \
    ((src) == LATHE_CL_BITNET158 || ((dst) >= LATHE_CL_I1 && (src) != LATHE_CL_I1))

/* The least elements of a row of BITNET158, of several, in a regular launch. */
#define LATHE_CL_LEAST_TRITS 256

/* Elements that the recode kernels make of each other at once: a power of two. */
#define LATHE_CL_RECODE_VECTOR(src, dst)                                                           \
    ((src) == LATHE_CL_I8 || (dst) == LATHE_CL_I8                                                  \
         ? 16                                                                                      \
         : ((src) == LATHE_CL_I4 || (dst) == LATHE_CL_I4 ? 32 : 64))

/* Work-items of a team of the recode kernels, which has a part of a row: so many elements at most,
 * two to eight vectors for each, and so many scopes, of 32 elements at least. Codes of I4 take so
 * much local memory that fewer teams fit on a small device. */
#define LATHE_CL_TEAM(src, dst, is_small)                                                          \
    ((src) == LATHE_CL_BITNET158 ||                                                                \
             (LATHE_CL_RECODE_VECTOR(src, dst) > 16 && !((is_small) && (src) == LATHE_CL_I4))      \
         ? 32                                                                                      \
         : 64)
#define LATHE_CL_TEAM_ELEMS LATHE_STAT_TILE
#define LATHE_CL_TEAM_SCOPES(is_small) ((is_small) ? 32 : LATHE_CL_TEAM_ELEMS / 32)

/* Longer rows that are a scope have a work-group as team, of no more than LATHE_CL_ROW_MANY, and so
 * many elements at most: the recode_rows kernel. */
#define LATHE_CL_RECODE_ROW (8 * LATHE_STAT_TILE)

/* Whether some of them take more than LATHE_CL_GROUP work-items: the recode_many kernel. */
#define LATHE_CL_RECODES_MANY(src, dst)                                                            \
    (LATHE_CL_RECODE_ROW / LATHE_CL_TEAM_ELEMS * LATHE_CL_TEAM(src, dst, 0) > LATHE_CL_GROUP)

/* Work-items that share a tile of the recode_stats kernel, and tiles of a work-group of `group`. */
#define LATHE_CL_RECODE_SHARERS 16
#define LATHE_CL_RECODE_TILES(group) ((group) / LATHE_CL_RECODE_SHARERS)

/* Scopes of up to so many elements have sums of I2's and BITNET158's codes by counting; others, of
 * LATHE_CL_LONG_ELEMS and more, one to a part. */
#define LATHE_CL_COUNTED_ELEMS 128
#define LATHE_CL_LONG_ELEMS 512

/* Columns of a row that it is cut at for them are multiples of this; on a side of BITNET158 of
 * LATHE_CL_TRIT_COLS, too. */
#define LATHE_CL_RECODE_COLS 64
#define LATHE_CL_TRIT_COLS 320

/* Work-items that share a tile of the stats kernel, LATHE_STAT_LANES lanes between them. */
#define LATHE_CL_TILE_ITEMS(src) ((src) <= LATHE_CL_BF16 ? 32 : 16)

#endif
