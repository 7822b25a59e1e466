/* SPDX-License-Identifier: Apache-2.0 */
/* How an engine is configured: its threads, memory, device, and the defaults of its strategies. */
#ifndef LATHE_CONFIG_H
#define LATHE_CONFIG_H

#include <lathe/device.h>
#include <lathe/export.h>
#include <lathe/pool.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* The caller's own threads. parallel_for calls task(task_ctx, i) once for every i in [0, n_tasks),
 * in any order, on any threads, and returns when all have returned. It may be called from several
 * threads at once, and is not called at all where the work is a single task or n_threads is 1. */
typedef struct lathe_executor {
    void *ctx;
    void (*parallel_for)(void *ctx, size_t n_tasks, void (*task)(void *task_ctx, size_t i),
                         void *task_ctx);
    uint32_t n_threads; /* how many tasks run at once, at least 1 */
} lathe_executor;

/* What an engine has to say. */
typedef enum lathe_notice_level {
    LATHE_NOTICE_INFO = 0,    /* for the curious: why the CPU is used, say */
    LATHE_NOTICE_WARNING = 1, /* something is wrong with a device; conversions go on without it */
} lathe_notice_level;

/* Receives one line of text, which lives until it returns. Called from any thread, several at once;
 * it must not use the engine. */
typedef void lathe_notice_fn(void *ctx, lathe_notice_level level, const char *text);

/* The caller's own OpenCL context: lathe/opencl.h. */
struct lathe_opencl_device;

/* A switch whose zero is the default. */
typedef enum lathe_toggle {
    LATHE_BY_DEFAULT = 0,
    LATHE_ON = 1,
    LATHE_OFF = 2,
} lathe_toggle;

/* Streaming: chunks that rotate through slots. Zero fields are chosen to suit the device. */
typedef struct lathe_streaming_config {
    uint64_t chunk_bytes;     /* of a chunk, source and result together; 64 KiB at least */
    uint32_t parallel_chunks; /* that are converted at once; default: the device's threads or queues
                               */
    uint32_t prefetch_chunks; /* that are read ahead of those; default 0 on the CPU, where a chunk
                                 is to be in the cache */
    uint64_t buffer_bytes;    /* of all slots together, at most; 1 MiB at least; default 64 MiB */
} lathe_streaming_config;

/* Batches: many tensors in one call. */
typedef struct lathe_batch_config {
    uint64_t max_tensors; /* that are worked on at a time; default: no limit */
    uint64_t max_bytes; /* of results that are made before the next are begun; default: no limit */
    lathe_toggle group; /* tensors of the same kernel follow each other; default on */
    lathe_toggle sort_by_size; /* the largest first, so that the last ones are short; default on */
    lathe_toggle parallel;     /* several tensors at once; default on */
} lathe_batch_config;

/* Begins with struct_size = sizeof(lathe_config); a zero field means its default. The size that the
 * struct had before it grew is taken, too. What it points to must live until the engine is made,
 * unless said otherwise. Nothing here changes the bytes of a result: that is the target's part. */
typedef struct lathe_config {
    size_t struct_size;
    uint32_t n_threads; /* CPU threads, the caller's included; default: as many as the process may
                           use. Not with an executor. */
    lathe_isa isa;      /* the highest CPU kernels to use; default: the best there are */
    uint64_t memory_budget_bytes; /* of the engine's pool; default: no limit. Not with a pool. */
    const lathe_allocator *allocator; /* of the engine's pool; copied. Not with a pool. */
    lathe_pool *pool;                 /* default: a pool of the engine's own. Retained. */
    const lathe_executor *executor;   /* default: threads of the engine's own. Copied; its ctx must
                                         outlive the engine. */
    /* Where to convert. "cpu"; "opencl": a GPU before any other device, and the CPU where there is
     * none; "opencl:N", "opencl:gpu", "opencl:cpu", "opencl:accelerator" or "opencl:TEXT", TEXT
     * being part of a device's or its platform's name in any case: that one, or NOT_FOUND. NULL or
     * "auto" is the CPU, and a GPU or accelerator as well, which is looked for when conversions of
     * a megabyte or more have kept the CPU busy for a second, and used for those that it is
     * measured to do sooner, host memory's way there and back included. Its failures are the CPU's
     * to make good. */
    const char *device;
    /* 1: what the device cannot do fails with DEVICE; default: the CPU does it then. With "opencl",
     * also that there is no device. */
    uint32_t require_device;
    /* A folder for compiled OpenCL programs, made if need be, safe to share and to delete. Default:
     * none, and programs are compiled anew by each engine. Users expect
     * $XDG_CACHE_HOME/lathe (~/.cache/lathe), which is what the tool gives. */
    const char *program_cache_dir;
    const struct lathe_opencl_device *opencl_device; /* a context to use; not with `device` */
    lathe_notice_fn *notice;                         /* default: nobody listens */
    void *notice_ctx;
    lathe_streaming_config streaming;
    lathe_batch_config batch;
    uint64_t pipeline_cache_bytes; /* results that a pipeline keeps, at most; default: none */
    /* A file that keeps what the planner has measured on this machine; made if need be. Default:
     * none, and measurements last as long as the engine. */
    const char *calibration_file;
    uint32_t recent_conversions; /* that lathe_engine_recent remembers; default 64, at most 4096 */
    lathe_toggle huge_pages; /* for large blocks of the engine's pool; default on. A given pool or
                                allocator decides by itself. */
    lathe_toggle pinned_staging; /* transfers to a device that has its own memory go through pinned
                                    memory; off: through ordinary memory, which is slower but not
                                    scarce; default on */
} lathe_config;

/* X(name, number, text). The numbers are part of the ABI. docs/configuration.md says what each
 * sets. */
#define LATHE_PRESET_LIST(X)                                                                       \
    X(DEFAULT, 0, "default")                   /* every field zero */                              \
    X(HIGH_PERFORMANCE, 1, "high_performance") /* memory for speed; scales from a sample */        \
    X(LOW_MEMORY, 2, "low_memory")             /* speed for memory */                              \
    X(HIGH_PRECISION, 3, "high_precision")     /* the scales with the least error */

typedef enum lathe_preset {
#define LATHE_PRESET_ENUM(name, number, text) LATHE_PRESET_##name = number,
    LATHE_PRESET_LIST(LATHE_PRESET_ENUM)
#undef LATHE_PRESET_ENUM
} lathe_preset;

/* "default", "high_performance", ...; "invalid" for any other number. Static. Thread-safe. */
LATHE_API const char *lathe_preset_name(lathe_preset preset);

/* Finds the preset of that name. Returns false, and leaves *preset alone, for any other text or
 * NULL. Thread-safe. */
LATHE_API bool lathe_preset_from_name(const char *name, lathe_preset *preset);

/* Fills all of *config, struct_size included. Errors: INVALID_ARGUMENT; *config is then left alone.
 * Thread-safe. */
LATHE_API lathe_status lathe_config_preset(lathe_preset preset, lathe_config *config);

/* Fills all of *target: the preset's part that results depend on. Errors: INVALID_ARGUMENT; *target
 * is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_target_preset(lathe_preset preset, lathe_dtype dtype,
                                           lathe_target *target);

/* Receives the name of a field, "streaming.chunk_bytes", and one line of text about it; both live
 * until it returns. */
typedef void lathe_config_finding_fn(void *ctx, const char *field, const char *text);

/* Checks a config as lathe_engine_create does, and reports every field that is wrong (`finding`
 * may be NULL). Whether this machine has the device and the ISA is only seen by making the engine.
 * Returns OK, or INVALID_ARGUMENT, with the first field as the last error. Thread-safe. */
LATHE_API lathe_status lathe_config_validate(const lathe_config *config,
                                             lathe_config_finding_fn *finding, void *ctx);

/* Reports what would help: settings that are legal, but that do not fit this machine or each other.
 * Errors: INVALID_ARGUMENT (a config that is not valid, too). Thread-safe. */
LATHE_API lathe_status lathe_config_hints(const lathe_config *config,
                                          lathe_config_finding_fn *finding, void *ctx);

/* The strings of a config that was read from JSON. */
typedef struct lathe_config_storage lathe_config_storage;

/* Reads a JSON object (docs/configuration.md): the fields of a config by name, "preset" to begin
 * with, and "target" with the fields of a target. Fills all of *config and, unless it is NULL,
 * *target (its dtype is 0 where the text names none). *storage holds the config's strings, in
 * memory of the pool; the caller frees it with lathe_config_storage_free, once the engine is made.
 * Errors, which leave all outputs alone: MALFORMED_FILE (no JSON; with line and column),
 * INVALID_ARGUMENT (a key that is unknown, of the wrong type or out of range, naming it; a target
 * where `target` is NULL; fields that contradict each other), INSUFFICIENT_MEMORY. Thread-safe. */
LATHE_API lathe_status lathe_config_from_json(lathe_pool *pool, const char *json, size_t n_bytes,
                                              lathe_config *config, lathe_target *target,
                                              lathe_config_storage **storage);

/* NULL is legal. */
LATHE_API void lathe_config_storage_free(lathe_config_storage *storage);

/* The other way: a JSON object with the fields that are not zero, NUL-terminated, in a block of the
 * pool that the caller gives back with lathe_pool_free. `target` may be NULL. Pointers to objects
 * and functions have no JSON form and are left out.
 * Errors: INVALID_ARGUMENT (what lathe_config_from_json would not take), INSUFFICIENT_MEMORY; *text
 * is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_config_to_json(const lathe_config *config, const lathe_target *target,
                                            lathe_pool *pool, char **text);

LATHE_END_DECLS

#endif
