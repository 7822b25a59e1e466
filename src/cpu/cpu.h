/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend, and the parts of it that its files share. */
#ifndef LT_CPU_CPU_H
#define LT_CPU_CPU_H

#include "backend.h"
#include "core/dtype.h"
#include "cpu/kernels.h"
#include "cpu/threads.h"
#include "lathe_constants.h"

typedef struct lt_cpu_backend {
    lt_backend base;
    lathe_pool *pool; /* not owned: the engine's, which outlives the backend */
    lt_cpu_features features;
    lt_kernels kernels;
    lt_threads threads;
    lt_counters counters;
} lt_cpu_backend;

/* Makes the CPU backend. Errors: NOT_SUPPORTED (an ISA that the CPU lacks), INSUFFICIENT_MEMORY. */
lathe_status lt_cpu_backend_create(const lathe_config *config, lathe_pool *pool,
                                   lt_backend **backend);

/* Elements of the F32 tile through which pairs without a direct kernel go, and in which data is
 * checked: whole bytes of every dtype, and 10 KiB, so that it stays in the L1 cache with both its
 * sides. */
enum { LT_TILE = 2560 };

/* Sums of one scale with itself: of[k - 1] is that of k, added one after another in F32. */
typedef struct lt_lane_sums {
    bool is_set;
    float scale;
    float of[LATHE_STAT_LANES];
} lt_lane_sums;

/* Reads elements of a tensor. */
typedef struct lt_reader {
    const lt_kernels *kernels;
    lt_heat heat;
    const lt_layout *layout;
    bool is_flat;       /* one scale and no padding: the tensor is one run of elements */
    bool through_codes; /* bytes hold elements of two groups */
    const uint8_t *bytes;
    uint64_t first_byte; /* of the tensor: what lies at bytes[0] */
    const float *scales;
    uint64_t first_scale;
    lt_outcome *outcome; /* receives CORRUPT_DATA */
    lt_lane_sums *sums;  /* of the last scale; NULL: nobody keeps them between tiles */
} lt_reader;

/* True for BITNET158 in groups that do not begin bytes. */
bool lt_groups_share_bytes(const lt_layout *layout);

lt_reader lt_reader_of(const lt_cpu_backend *cpu, const lt_pass *pass, const lt_layout *layout,
                       const lt_span *span, lt_outcome *outcome);

/* Lets a reader read another tensor of the same pass. */
void lt_reader_retarget(lt_reader *reader, const lt_span *span, lt_outcome *outcome);

/* Consecutive elements that one kernel call can read. */
typedef struct lt_run {
    const uint8_t *bytes; /* where the first element lies; NULL if it does not begin a byte, or if
                             bytes are shared by groups */
    uint64_t n_elems;     /* at least 1 */
    float scale;
} lt_run;

/* The longest run that begins at element `elem`. */
lt_run lt_reader_run(const lt_reader *reader, uint64_t elem);

/* Groups of a row from one on that begins at element `elem`, which begins a byte. */
typedef struct lt_groups {
    const uint8_t *bytes;
    const float *scales;
} lt_groups;

lt_groups lt_reader_groups(const lt_reader *reader, uint64_t elem);

/* Decodes elements [elem, elem + n_elems) to n_elems floats at `out`, with any alignment. */
void lt_reader_decode(const lt_reader *reader, uint64_t elem, uint64_t n_elems, void *out);

/* Reports CORRUPT_DATA if one of the elements [elem, elem + n_elems) lies in an invalid byte. */
void lt_reader_check(const lt_reader *reader, uint64_t elem, uint64_t n_elems);

/* The statistic that a quantized dtype takes its scale from. */
static inline lt_stat lt_stat_of(lathe_dtype target) {
    return lt_dtype_traits_of(target)->rule == LT_RULE_ABSMAX ? LT_STAT_ABSMAX : LT_STAT_ABSSUM;
}

/* The statistic of elements [elem, elem + n_elems), at most LATHE_STAT_TILE of them. */
double lt_tile_stat(const lt_reader *reader, const lt_pass *pass, uint64_t elem, uint64_t n_elems);

/* PRECISE: the scale of a scope, [elem, elem + n_elems), whose standard scale is given. */
float lt_cpu_precise_scale(const lt_reader *reader, const lt_pass *pass, uint64_t elem,
                           uint64_t n_elems, float scale);

/* Some tiles of a stats work that scans. */
void lt_cpu_scan_tiles(const lt_cpu_backend *cpu, const lt_work *work, uint64_t first_tile,
                       uint64_t n_tiles);

/* The kernel that by itself converts any consecutive elements of a convert work, without anything
 * to find out, to check or to measure; NULL if it takes more than that. Then small tensors cost
 * little more than the kernel does. */
lt_convert_fn *lt_cpu_plain_kernel(const lt_cpu_backend *cpu, const lt_work *work);

/* Runs one range of a convert pass, and some tiles of a stats pass. */
void lt_cpu_convert_range(const lt_cpu_backend *cpu, const lt_work *work, const lt_range *range);
/* Runs the convert passes of many works, all of their ranges, one after another. */
void lt_cpu_convert_works(const lt_cpu_backend *cpu, const lt_work *works, size_t n_works);

void lt_cpu_stats_tiles(const lt_cpu_backend *cpu, const lt_work *work, uint64_t first_tile,
                        uint64_t n_tiles);

/* Chains, as lt_backend_ops says. */
lathe_status lt_cpu_submit_chain(lt_backend *backend, lt_queue *queue, const lt_chain_work *work);
lathe_status lt_cpu_submit_chain_stats(lt_backend *backend, lt_queue *queue,
                                       const lt_chain_work *work);

#endif
