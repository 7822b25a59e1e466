/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: the kernels of one pair of dtypes, built for one device when they are first needed, and
 * kept in memory and on disk. */
#ifndef LT_OPENCL_PROGRAM_H
#define LT_OPENCL_PROGRAM_H

#include "metrics/counters.h"
#include "opencl/device.h"
#include <lathe/dtype.h>
#include <pthread.h>

/* The kernels of a program. */
typedef enum lt_cl_kernel {
    LT_CL_STREAM, /* convert: rows that lie alike on both sides */
    LT_CL_BLOCK,  /* convert: anything, and scales of its own */
    LT_CL_LINEAR, /* convert to a quantized type: the same for regular blocks. No other has it */
    LT_CL_STATS,  /* tile statistics of the source for the target's rule */
    LT_CL_RECODE, /* convert between quantized types whose scopes lie alike. No other has it */
    LT_CL_RECODE_REGULAR, /* the same of parts that are rows, or can be taken for them */
    LT_CL_RECODE_WHOLE,   /* the same for rows, or what can be taken for them, that are a scope */
    LT_CL_RECODE_ODD,     /* behind either: what it has left out */
    LT_CL_RECODE_ROWS,    /* the same for long rows, with scales of their own */
    LT_CL_RECODE_MANY,    /* the same for the longest. Only some pairs have it */
    LT_CL_RECODE_STATS,   /* tile statistics of the same */
    LT_CL_PLAIN, /* what LINEAR does, of floats without anything odd. Only some pairs have it */
    LT_CL_AGAIN, /* behind it: the rest */
    LT_CL_OWN_GROUPS, /* PLAIN for some groups. Only some pairs have it and the next ones */
    LT_CL_OWN_WHOLE,  /* the same for the largest of them, all whole */
    LT_CL_TRITS,      /* convert: rows or a tensor with a given scale, faster than STREAM */
    LT_CL_ROWS_FEW,   /* PLAIN for whole rows. Only pairs from floats have it and the next */
    LT_CL_ROWS_MANY,  /* the same for longer ones */
    LT_CL_ROWS_MOST,  /* and for the longest that are held */
    LT_CL_ROWS_LONG,  /* and for those that are not, but read twice */
    LT_CL_FLAT,       /* what BLOCK does, where nothing is odd. Pairs of floats do not have it */
    LT_CL_FLAT_AGAIN, /* behind it, where it finds scales: the rest */
    LT_CL_FLAT_ROWS,  /* ROWS_LONG for rows that lie anyhow */
    LT_CL_KERNEL_COUNT
} lt_cl_kernel;

/* "lathe_stream", ... */
const char *lt_cl_kernel_name(lt_cl_kernel kernel);

/* Whether a program's results have been compared with the reference. */
typedef enum lt_cl_trust {
    LT_CL_UNTESTED, /* built from source */
    LT_CL_TRUSTED,  /* has passed the self-check, now or before its binary was stored */
    LT_CL_WRONG,    /* has failed it */
} lt_cl_trust;

typedef struct lt_cl_program {
    _Atomic(cl_program) program; /* NULL: not built yet */
    _Atomic lt_cl_trust trust;
    bool from_disk;
    char *refusal; /* why the compiler would not build it, which it is not asked again; a block of
                      the pool. NULL: it has not refused */
} lt_cl_program;

/* All programs of a device. */
typedef struct lt_cl_programs {
    const lt_cl_device *device;
    lathe_pool *pool;
    lt_counters *counters;
    const char *options;   /* beyond those of every program, after a space; NULL: none */
    char *cache_dir;       /* a block of the pool; NULL: nothing is kept on disk */
    pthread_mutex_t mutex; /* guards building and judging */
    lt_cl_program pairs[LATHE_DTYPE_LAST + 1][LATHE_DTYPE_LAST + 1];
} lt_cl_programs;

/* `cache_dir` may be NULL; it is copied. Errors: INSUFFICIENT_MEMORY; there is nothing to destroy
 * then. */
lathe_status lt_cl_programs_init(lt_cl_programs *programs, const lt_cl_device *device,
                                 lathe_pool *pool, lt_counters *counters, const char *cache_dir);

/* Nothing uses a program any more. */
void lt_cl_programs_destroy(lt_cl_programs *programs);

/* The program of a pair, built or loaded on its first use. Thread-safe. Errors: DEVICE (with the
 * first line of the build log that matters), INSUFFICIENT_MEMORY. */
lathe_status lt_cl_programs_get(lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst,
                                lt_cl_program **program);

/* Says how the self-check of a pair came out; a program that passed it is stored on disk, and one
 * from there that did not is removed. A cache that cannot be written is no error. Thread-safe. */
void lt_cl_programs_judge(lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst, bool passed);

#endif
