/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions in the caller's queues while OpenCL calls and allocations fail, and from many threads
 * at once. Built with TEST_OPENCL. */
#include "interop_case.h"

TestSuite(opencl_interop_faults, .init = setup, .fini = teardown);

/* One conversion behind a user event that is set afterwards, with faults from `at` on. Returns
 * whether a fault struck. */
static bool run_with_fault(size_t pair, uint64_t at, bool ever_after) {
    cl_int error;
    cl_command_queue queue = queue_of(0);
    cl_event go = clCreateUserEvent(context, &error);
    trial t = trial_at(pair, 0, 0);
    cl_event done = NULL;
    lathe_event *event = NULL;
    const test_cl_faults faults = {.at = at, .ever_after = ever_after};
    write_side(queue, &t.from, NULL);
    trial_again(&t, queue);
    layer->set_faults(&faults);
    lathe_status status = lathe_opencl_enqueue_convert(engine, queue, t.from.tensor, &t.target,
                                                       t.to.tensor, 1, &go, &done, &event);
    CHECK((status == LATHE_OK) == (event != NULL), "the outputs");
    if (status == LATHE_OK && ever_after) {
        layer->stop_faults();
    }
    if (layer->n_failed() > 0) {
        layer->stop_faults(); /* or the test's own calls would fail */
    }
    (void)clSetUserEventStatus(go, CL_COMPLETE); /* where it fails, it has been done */
    if (status == LATHE_OK) {
        CHECK(lathe_event_wait(event, 60 * SECONDS), "call %d: it never ends", (int)at);
        status = lathe_event_status(event);
        layer->stop_faults();
        (void)clWaitForEvents(1, &done);
        /* A kernel may still run that the library could not learn about. */
        bool may_differ = ever_after && went_straight(done);
        CHECK((execution_status(done) == CL_COMPLETE) == (status == LATHE_OK) ||
                  (may_differ && status != LATHE_OK),
              "done");
        CHECK(clReleaseEvent(done) == CL_SUCCESS, "clReleaseEvent");
    }
    bool struck = layer->n_failed() > 0;
    layer->stop_faults();
    CHECK(status == LATHE_OK || status == LATHE_DEVICE || status == LATHE_INSUFFICIENT_MEMORY,
          "call %d: %s", (int)at, lathe_status_name(status));
    CHECK(status == LATHE_OK || struck, "it failed by itself: %s", lathe_last_error()->message);
    read_side(queue, &t.to, 0, NULL);
    CHECK(clFinish(queue) == CL_SUCCESS, "the queue goes on");
    if (status == LATHE_OK) {
        check_result(&t);
    }
    lathe_event_release(event);
    trial_free(&t);
    finish(queue);
    CHECK(clReleaseEvent(go) == CL_SUCCESS, "clReleaseEvent");
    return struck;
}

Test(opencl_interop_faults, survives_any_failing_call) {
    if (layer == NULL) {
        cr_skip_test("the fault layer is not loaded");
    }
    for (size_t pair = 0; pair < 4; pair++) {
        for (int ever_after = 0; ever_after < 2; ever_after++) {
            (void)run_with_fault(pair, 0, false); /* the program is there */
            uint64_t at = 1;
            while (run_with_fault(pair, at, ever_after != 0)) {
                at++;
                CHECK(at < 500, "it never succeeds");
            }
            CHECK(at > 5, "the faults do not strike");
        }
    }
}

Test(opencl_interop_faults, survives_any_failing_allocation) {
    test_allocator allocator;
    const struct lathe_opencl_device ours = {context, device};
    lathe_config config = test_opencl_config();
    lathe_engine *with_device = engine;
    test_allocator_init(&allocator);
    config.device = NULL;
    config.opencl_device = &ours;
    config.require_device = 0;
    config.allocator = &allocator.interface;
    CHECK_OK(lathe_engine_create(&config, &engine));
    cl_command_queue queue = queue_of(0);
    for (size_t pair = 0; pair < 2; pair++) {
        bool succeeded = false;
        for (uint64_t fail_at = 0; !succeeded; fail_at++) {
            trial t = trial_at(pair, 0, 0);
            lathe_event *event = NULL;
            cl_event done = NULL;
            write_side(queue, &t.from, NULL);
            trial_again(&t, queue);
            (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
            test_allocator_reset(&allocator, fail_at);
            lathe_status status = lathe_opencl_enqueue_convert(
                engine, queue, t.from.tensor, &t.target, t.to.tensor, 0, NULL, &done, &event);
            CHECK(status == LATHE_OK || (done == NULL && event == NULL), "the outputs");
            if (status == LATHE_OK) {
                status = lathe_event_status(event);
                (void)clWaitForEvents(1, &done);
                CHECK((execution_status(done) == CL_COMPLETE) == (status == LATHE_OK), "done");
                CHECK(clReleaseEvent(done) == CL_SUCCESS, "clReleaseEvent");
            }
            succeeded = status == LATHE_OK && allocator.n_calls <= fail_at;
            test_allocator_reset(&allocator, UINT64_MAX);
            CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "allocation %d: %s",
                  (int)fail_at, lathe_status_name(status));
            read_side(queue, &t.to, 0, NULL);
            CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
            if (status == LATHE_OK) {
                check_result(&t);
            }
            lathe_event_release(event);
            trial_free(&t);
            CHECK(fail_at < 500, "it never succeeds");
        }
    }
    finish(queue);
    lathe_engine_free(engine);
    engine = with_device;
    CHECK(allocator.n_live == 0 && !allocator.misused, "memory is left");
}

/* ---- threads */

typedef struct caller {
    pthread_t thread;
    size_t number;
    trial trials[N_PAIRS];
    const char *failure;
} caller;

/* No CHECK here: those are for the main thread. */
static void *convert_in_own_queue(void *ctx) {
    caller *self = ctx;
    cl_command_queue queue = queue_of(0);
    for (int round = 0; round < 5 && self->failure == NULL; round++) {
        for (size_t i = 0; i < N_PAIRS; i++) {
            trial *t = &self->trials[(i + self->number) % N_PAIRS];
            memset(t->to.host, GUARD_BYTE, t->to.n_bytes);
            if (clEnqueueWriteBuffer(queue, t->from.memory, CL_FALSE, 0, t->from.n_bytes,
                                     t->from.host, 0, NULL, NULL) != CL_SUCCESS ||
                clEnqueueWriteBuffer(queue, t->to.memory, CL_FALSE, 0, t->to.n_bytes, t->to.host, 0,
                                     NULL, NULL) != CL_SUCCESS ||
                lathe_opencl_enqueue_convert(engine, queue, t->from.tensor, &t->target,
                                             t->to.tensor, 0, NULL, NULL, NULL) != LATHE_OK ||
                clEnqueueReadBuffer(queue, t->to.memory, CL_FALSE, 0, t->to.n_bytes, t->to.host, 0,
                                    NULL, NULL) != CL_SUCCESS) {
                self->failure = "a call failed";
            }
        }
        if (clFinish(queue) != CL_SUCCESS) {
            self->failure = "clFinish";
        }
        for (size_t i = 0; i < N_PAIRS; i++) {
            const trial *t = &self->trials[i];
            if (memcmp(t->to.host + t->to.data_offset, lathe_tensor_data(t->expected),
                       t->to.data_bytes) != 0) {
                self->failure = "other bytes";
            }
        }
    }
    (void)clReleaseCommandQueue(queue);
    return NULL;
}

Test(opencl_interop_faults, many_queues_on_one_engine) {
    enum { N = 4 };
    static caller callers[N];
    for (size_t i = 0; i < N; i++) {
        callers[i].number = i;
        for (size_t k = 0; k < N_PAIRS; k++) {
            callers[i].trials[k] = trial_at(k, 4 * i, 4 * i);
        }
    }
    for (size_t i = 0; i < N; i++) {
        CHECK(pthread_create(&callers[i].thread, NULL, convert_in_own_queue, &callers[i]) == 0,
              "pthread_create");
    }
    for (size_t i = 0; i < N; i++) {
        CHECK(pthread_join(callers[i].thread, NULL) == 0, "pthread_join");
        CHECK(callers[i].failure == NULL, "caller %zu: %s", i, callers[i].failure);
    }
    lathe_engine_free(engine); /* lets go of the tensors */
    engine = NULL;
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < N_PAIRS; k++) {
            trial_free(&callers[i].trials[k]);
        }
    }
}
