/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenCL backend and its queues, as its own files see them. */
#ifndef LT_OPENCL_QUEUE_H
#define LT_OPENCL_QUEUE_H

#include "cpu/threads.h"
#include "lathe_chain.h"
#include "opencl/opencl.h"
#include <pthread.h>

enum { LT_CL_DTYPES = LATHE_DTYPE_LAST + 1 };

/* Where each family's kernels are among all; those of pairs come first. */
enum {
    LT_CL_MANY_AT = LT_CL_KERNEL_COUNT,
    LT_CL_IN_PLACE_AT = LT_CL_MANY_AT + 2,
    LT_CL_EXTRA_CODES_AT,
    LT_CL_SEARCH_AT = LT_CL_EXTRA_CODES_AT + 2,
    LT_CL_MEASURE_AT = LT_CL_SEARCH_AT + 6,
    LT_CL_ALL_KERNELS
};

/* Kernels whose programs are checked alike: family.h. */
typedef struct lt_cl_family {
    lt_cl_programs programs;
    lt_cl_check_fn *check;
    lt_cl_check_chain_fn *check_chain; /* in its place. Both NULL: every program is trusted */
    const char *purpose;               /* what the kernels are for, after "than the reference" */
    bool is_for_all;                   /* one program does for all pairs */
    bool is_checking[LT_CL_DTYPES][LT_CL_DTYPES]; /* the backend's mutex guards it */
} lt_cl_family;

static inline bool lt_cl_has_check(const lt_cl_family *family) {
    return family->check != NULL || family->check_chain != NULL;
}

typedef struct lt_cl_backend {
    lt_backend base;
    lathe_pool *pool; /* not owned; this struct is a block of it */
    lt_counters *counters;
    lt_backend *host;
    lt_cl_device device;
    lt_cl_family families[LT_CL_FAMILY_COUNT];
    lt_cl_memory memory;
    bool has_threads;   /* of its own; else the host backend's, which are the caller's */
    lt_threads threads; /* as many as slots, so that what each waits for overlaps */
    lt_cl_check_chain_fn *check_chain;
    lt_cl_check_chain_fn *check_rounded;
    void *check_ctx;
    pthread_mutex_t mutex; /* guards what follows, and making kernels */
    pthread_cond_t checked;
    struct lt_cl_chain_programs *chains; /* chain_programs.c */
    lt_queue *idle;                      /* the one used last first */
    uint32_t n_idle;
} lt_cl_backend;

/* A launch whose report has not been delivered. */
typedef struct lt_cl_pending {
    lathe_launch args;
    lt_outcome *outcome;
} lt_cl_pending;

/* Statistics of tiles on their way into the landing memory. */
typedef struct lt_cl_pending_stats {
    double *stats;
    uint64_t first; /* float of the landing memory */
    uint64_t n_tiles;
} lt_cl_pending_stats;

/* Host memory that a queue has mapped. */
typedef struct lt_cl_mapping {
    cl_mem memory;
    void *host;
} lt_cl_mapping;

/* On the device: the histograms, the states and the sums of the scopes that are searched. */
typedef struct lt_cl_search_memory {
    lt_buffer counts;
    lt_buffer states;
    lt_buffer sums;
} lt_cl_search_memory;

/* What is being measured. */
typedef struct lt_cl_measured {
    lt_buffer words;     /* on the device; made when it is first needed */
    lt_buffer landing;   /* pinned */
    lt_outcome *outcome; /* whose quality it is for; NULL: nothing is */
    uint64_t n_elems;
} lt_cl_measured;

enum { LT_CL_MAX_LAUNCHES = 64, LT_CL_MAX_STATS = 8, LT_CL_MAX_MAPPINGS = 16 };

/* Words of the reports' memory, and where the sums lie in it. */
enum {
    LT_CL_SUMS_AT = LT_CL_MAX_LAUNCHES * LATHE_CL_REPORT_WORDS,
    LT_CL_REPORTS_WORDS = LT_CL_SUMS_AT + 2 * LATHE_CL_SUM_WORDS
};

/* Each command waits for the one before, so that the last one's event tells whether one of them has
 * failed. */
struct lt_queue {
    lt_queue *next; /* of the idle ones */
    lt_cl_backend *backend;
    cl_command_queue commands; /* NULL: it could not be made */
    cl_event last;             /* the newest command's; NULL: all are done */
    bool is_broken;            /* a call has failed: nothing is put into it any more */
    bool is_complete;          /* after a failure: what was in it before has been done */
    bool is_uploading;         /* transfers may be reading from staging memory */
    bool is_dirty;             /* reports and sums are not as launches expect them */
    bool has_odd_rows;         /* launches of the rows kernel have met some */
    uint32_t n_launches;       /* pending */
    uint32_t n_stats;          /* likewise */
    uint32_t n_mappings;
    uint64_t n_stats_floats; /* floats of the landing memory that are taken */
    lt_buffer reports;       /* on the device: of LT_CL_MAX_LAUNCHES launches, then two sums */
    lt_buffer reports_landing;
    lt_tile_sum *sum;      /* what the last launch's tiles come to is on its way; NULL: is not */
    lathe_dtype sum_dtype; /* by whose rule */
    uint32_t sum_place;    /* of the two: where the newest is */
    lt_buffer stats;       /* on the device: the newest work's; made when it is first needed */
    lt_buffer stats_landing;
    lt_buffer table;      /* of a launch for many tensors: batch.c */
    lt_buffer table_host; /* pinned: what it is made of, and where its reports land */
    const lt_work *many;  /* the works of that launch */
    size_t n_many;        /* 0: there is none */
    cl_kernel kernels[LT_CL_DTYPES][LT_CL_DTYPES][LT_CL_ALL_KERNELS];
    cl_kernel rounded[LT_CL_KERNEL_COUNT];               /* of the last pair with roundings, */
    lathe_dtype rounded_types[LATHE_CL_CHAIN_STEPS + 2]; /* which leads through these types */
    lt_buffer turns;            /* of launches in place, on the device: in_place.c */
    uint32_t n_turns;           /* such launches since its words were set to 0 */
    uint32_t n_tickets;         /* of theirs, modulo 2^32 */
    lt_cl_search_memory search; /* search.c */
    lt_cl_measured measured;    /* measure.c */
    lt_cl_mapping mappings[LT_CL_MAX_MAPPINGS];
    lt_cl_pending_stats pending_stats[LT_CL_MAX_STATS];
    lt_cl_pending launches[LT_CL_MAX_LAUNCHES];
};

static inline lt_cl_backend *lt_cl_of(lt_backend *backend) {
    return (lt_cl_backend *)backend;
}

/* The programs of pairs. */
static inline const lt_cl_family *lt_cl_pairs(const lt_cl_backend *backend) {
    return &backend->families[LT_CL_FAMILY_PAIRS];
}

/* ---- queue.c */

lathe_status lt_cl_queue_open(lt_backend *base, lt_queue **queue);
void lt_cl_queue_close(lt_backend *base, lt_queue *queue);

/* Frees the queues that are idle. */
void lt_cl_queues_destroy(lt_cl_backend *backend);

/* The wait list of a command that is about to be enqueued. */
static inline cl_uint lt_cl_n_wait(const lt_queue *queue) {
    return queue->last != NULL ? 1 : 0;
}

static inline const cl_event *lt_cl_wait_list(const lt_queue *queue) {
    return queue->last != NULL ? &queue->last : NULL;
}

/* Takes what an enqueuing function gave: its event becomes the last one. */
lathe_status lt_cl_queue_chain(lt_queue *queue, const char *function, cl_int error, cl_event event);

/* Records that a call has failed, waits until nothing of what was enqueued runs any more, and
 * forgets it. */
lathe_status lt_cl_queue_fail(lt_queue *queue, const char *function, cl_int error);

/* Ends what is in the queue because of an error that is no failure of it: returns `status`, and
 * leaves the thread's last error alone. */
lathe_status lt_cl_queue_give_up(lt_queue *queue, lathe_status status);

/* OK, unless the queue is broken. */
lathe_status lt_cl_queue_check(const lt_queue *queue);

/* Starts what has been enqueued. */
lathe_status lt_cl_queue_flush(lt_queue *queue);

/* Waits for all commands. Reports and statistics stay where they have landed. */
lathe_status lt_cl_queue_wait(lt_queue *queue);

/* As lt_backend_ops says. */
bool lt_cl_is_complete(lt_backend *backend, const lt_queue *queue);

/* ---- transfer.c: as lt_backend_ops says */

lathe_status lt_cl_map(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                       uint64_t offset, uint64_t n_bytes, lt_access access);
lathe_status lt_cl_unmap(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                         uint64_t offset, uint64_t n_bytes, lt_access access);
lathe_status lt_cl_upload(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                          uint64_t offset, const void *host, uint64_t n_bytes);
lathe_status lt_cl_download(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                            uint64_t offset, void *host, uint64_t n_bytes);
lathe_status lt_cl_copy(lt_backend *backend, lt_queue *queue, const lt_buffer *from,
                        uint64_t from_offset, const lt_buffer *to, uint64_t to_offset,
                        uint64_t n_bytes);

/* ---- submit.c: as lt_backend_ops says */

lathe_status lt_cl_submit_stats(lt_backend *backend, lt_queue *queue, const lt_work *work);
lathe_status lt_cl_submit_convert(lt_backend *backend, lt_queue *queue, const lt_work *work);
lathe_status lt_cl_convert_rows(lt_backend *backend, lt_queue *queue, const lt_work *work);

#endif
