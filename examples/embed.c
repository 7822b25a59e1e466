/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime that embeds the library: conversions run on its own threads and within a budget that it
 * gives, its tensors come in and go out by DLPack without a copy, its settings are JSON, and what
 * has been done is there for its monitoring. (For its own OpenCL queue: opencl_queue.c.) */
#include <inttypes.h>
#include <lathe/dlpack.h>
#include <lathe/lathe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program after a failure. */
static void require(bool good, const char *what) {
    if (!good) {
        fprintf(stderr, "embed: %s failed (%s)\n", what, lathe_last_error()->message);
        exit(1);
    }
}

/* ---- the runtime's own threads
 *
 * A real one has a pool that waits for work; this one starts threads for each call. */

enum { N_THREADS = 3 };

typedef struct parallel_call {
    void (*task)(void *ctx, size_t i);
    void *ctx;
    size_t n_tasks;
    size_t next; /* under the mutex */
    pthread_mutex_t mutex;
} parallel_call;

static void *take_tasks(void *arg) {
    parallel_call *call = arg;
    for (;;) {
        (void)pthread_mutex_lock(&call->mutex);
        const size_t i = call->next++;
        (void)pthread_mutex_unlock(&call->mutex);
        if (i >= call->n_tasks) {
            return NULL;
        }
        call->task(call->ctx, i);
    }
}

static void parallel_for(void *ctx, size_t n_tasks, void (*task)(void *task_ctx, size_t i),
                         void *task_ctx) {
    parallel_call call = {.task = task, .ctx = task_ctx, .n_tasks = n_tasks};
    pthread_t threads[N_THREADS - 1];
    size_t n_started = 0;
    ++*(int *)ctx;
    (void)pthread_mutex_init(&call.mutex, NULL);
    while (n_started < N_THREADS - 1 &&
           pthread_create(&threads[n_started], NULL, take_tasks, &call) == 0) {
        n_started++;
    }
    (void)take_tasks(&call);
    while (n_started > 0) {
        (void)pthread_join(threads[--n_started], NULL);
    }
    (void)pthread_mutex_destroy(&call.mutex);
}

/* ---- the runtime's own tensors, as DLPack 1.1 lays them out
 *
 * A real one includes dlpack.h for this. */

typedef struct DLDevice {
    int32_t device_type;
    int32_t device_id;
} DLDevice;

typedef struct DLDataType {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} DLDataType;

typedef struct DLTensor {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensorVersioned {
    struct {
        uint32_t major;
        uint32_t minor;
    } version;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;

enum { DL_CPU = 1, DL_INT = 0, DL_FLOAT = 2, ROWS = 512, COLS = 2048 };

typedef struct activations {
    DLManagedTensorVersioned managed;
    int64_t shape[2];
    float values[ROWS * COLS];
} activations;

static void delete_activations(DLManagedTensorVersioned *self) {
    free(self->manager_ctx);
}

static DLManagedTensorVersioned *make_activations(void) {
    activations *made = calloc(1, sizeof *made);
    require(made != NULL, "memory");
    made->shape[0] = ROWS;
    made->shape[1] = COLS;
    for (int i = 0; i < ROWS * COLS; i++) {
        made->values[i] = (float)(i * 37 % 1009 - 504) * 0.01f;
    }
    made->managed = (DLManagedTensorVersioned){
        .version = {1, 1},
        .manager_ctx = made,
        .deleter = delete_activations,
        .dl_tensor = {.data = made->values,
                      .device = {DL_CPU, 0},
                      .ndim = 2,
                      .dtype = {DL_FLOAT, 32, 1},
                      .shape = made->shape},
    };
    return &made->managed;
}

/* What the runtime does with the codes: here, it adds them up. */
static int64_t sum_of_codes(const DLManagedTensorVersioned *codes) {
    const DLTensor *tensor = &codes->dl_tensor;
    require(tensor->dtype.code == DL_INT && tensor->dtype.bits == 8 && tensor->ndim == 2,
            "8-bit codes");
    const int8_t *values = (const int8_t *)tensor->data + tensor->byte_offset;
    int64_t sum = 0;
    for (int64_t i = 0; i < tensor->shape[0] * tensor->shape[1]; i++) {
        sum += values[i];
    }
    return sum;
}

static lathe_engine *make_engine(lathe_pool *pool, const lathe_executor *executor,
                                 lathe_target *target) {
    static const char settings[] =
        "{\"recent_conversions\": 16,"
        " \"target\": {\"dtype\": \"i8\", \"granularity\": \"row\", \"nonfinite\": \"saturate\"}}";
    lathe_config config;
    lathe_config_storage *storage = NULL;
    lathe_engine *engine = NULL;
    require(lathe_config_from_json(pool, settings, strlen(settings), &config, target, &storage) ==
                LATHE_OK,
            "the settings");
    config.pool = pool;
    config.executor = executor;
    require(lathe_engine_create(&config, &engine) == LATHE_OK, "an engine");
    lathe_config_storage_free(storage);
    return engine;
}

static void print_metrics(lathe_engine *engine) {
    lathe_metrics *metrics = calloc(1, sizeof *metrics);
    char *text = NULL;
    require(metrics != NULL, "memory");
    metrics->struct_size = sizeof *metrics;
    require(lathe_engine_metrics(engine, metrics) == LATHE_OK &&
                lathe_metrics_to_prometheus(metrics, lathe_engine_pool(engine), &text) == LATHE_OK,
            "metrics");
    printf("%zu bytes for Prometheus, of %" PRIu64 " conversions\n", strlen(text),
           metrics->total.n_done);
    (void)lathe_pool_free(lathe_engine_pool(engine), text);
    free(metrics);
}

int main(void) {
    int n_calls = 0;
    const lathe_executor executor = {
        .ctx = &n_calls, .parallel_for = parallel_for, .n_threads = N_THREADS};
    const lathe_pool_config budget = {.struct_size = sizeof budget, .budget_bytes = 64 << 20};
    lathe_pool *pool = NULL;
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    DLManagedTensorVersioned *codes = NULL;
    lathe_target target;

    require(lathe_pool_create(&budget, &pool) == LATHE_OK, "a pool");
    lathe_engine *engine = make_engine(pool, &executor, &target);
    require(lathe_dlpack_import(engine, make_activations(), NULL, &source) == LATHE_OK, "import");
    require(lathe_convert(engine, source, &target, &result, NULL) == LATHE_OK, "a conversion");
    require(lathe_dlpack_export(result, LATHE_DLPACK_CODES, &codes) == LATHE_OK, "export");
    printf("I8 codes add up to %" PRId64 "; scale of row 0: %.6f\n", sum_of_codes(codes),
           (double)lathe_tensor_scales(result)[0]);
    printf("the runtime's threads were called %s\n", n_calls > 0 ? "upon" : "not at all");
    require(n_calls > 0, "using the runtime's threads");
    print_metrics(engine);

    lathe_tensor_release(source); /* which deletes the runtime's tensor */
    lathe_tensor_release(result);
    codes->deleter(codes); /* which keeps the result's memory until then */
    lathe_engine_free(engine);
    lathe_pool_release(pool);
    return 0;
}
