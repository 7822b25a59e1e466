/* SPDX-License-Identifier: Apache-2.0 */
/* What is tried while OpenCL calls fail. */
#ifndef LT_TEST_FAULTS_CASE_H
#define LT_TEST_FAULTS_CASE_H

#include "opencl_support.h"
#include <lathe/opencl.h>
#include <lathe/pipeline.h>

enum { ROWS = 60, COLS = 301 };

typedef struct attempt attempt;

typedef struct scenario {
    const char *name;
    /* What is under test: returns its status, and says nothing was wrong with what it gave. */
    lathe_status (*run)(attempt *a);
    lathe_dtype from; /* 0: F32 */
    lathe_dtype to;
    lathe_granularity granularity;
    lathe_quality quality;
    bool has_own_memory;      /* the device says that it does not share the host's */
    bool is_cold;             /* the faults begin before the engine is made */
    bool builds;              /* programs come from source, into an empty cache */
    bool uses_device_tensors; /* which may fail even where the CPU could convert */
    uint64_t n_rows;          /* 0: a few */
    uint64_t n_cols;          /* 0: an odd number */
    uint64_t budget_bytes;
    uint64_t stride; /* 0: every N in every mode; 4: every N in one of the four; more: some N */
} scenario;

struct attempt {
    const scenario *s;
    bool required;
    lathe_engine *engine;
    lathe_target target;
    lathe_tensor *source;
    lathe_tensor *expected;
    bool is_wrong; /* OK came back with other bytes */
};

static inline lathe_dtype source_dtype(const scenario *s) {
    return s->from != 0 ? s->from : LATHE_F32;
}

/* What there is to try. */
extern const scenario faults_scenarios[];
extern const size_t faults_n_scenarios;

/* An engine without a device, for what is expected. */
extern lathe_engine *faults_cpu;

/* A path in the folder of the program; the last eight stay valid. */
const char *faults_path(const char *name);

/* Ends the program, saying what, unless it holds. */
void faults_must(bool holds, const char *what);

/* Converts the checkpoint in.safetensors of the folder. */
lathe_status faults_convert_checkpoint(lathe_engine *engine, const lathe_target *target,
                                       const char *output);

#endif
