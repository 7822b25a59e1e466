/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/opencl.h: the caller's context, memory objects, queues and events. The caller
 * never waits between its own commands and the conversion among them. Built with TEST_OPENCL. */
#include "interop_case.h"
#include <stdatomic.h>

TestSuite(opencl_interop, .init = setup, .fini = teardown);

/* ---- context and memory */

Test(opencl_interop, the_callers_context_is_used) {
    cl_context found = NULL;
    cl_device_id found_device = NULL;
    CHECK_OK(lathe_opencl_device_of(engine, &found, &found_device));
    CHECK(found == context && found_device == device, "another one");
    CHECK_OK(lathe_opencl_device_of(engine, NULL, NULL));
    CHECK_STATUS(lathe_opencl_device_of(cpu, &found, NULL), LATHE_NOT_SUPPORTED);
    CHECK_STATUS(lathe_opencl_device_of(NULL, &found, NULL), LATHE_INVALID_ARGUMENT);
    CHECK(references(context) > 1, "the engine has a reference");
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engine, &info));
    CHECK(strncmp(info.selector, "opencl", 6) == 0, "%s", info.selector);
}

Test(opencl_interop, wrapped_memory_converts) {
    static const size_t offsets[][2] = {{0, 0}, {64, 16}, {4, 12}, {1, 3}, {13, 6}};
    cl_command_queue queue = queue_of(0);
    for (size_t i = 0; i < N_PAIRS; i++) {
        for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++) {
            trial t = trial_at(i, offsets[o][0], offsets[o][1]);
            lathe_opencl_memory data = {0};
            lathe_opencl_memory scales = {0};
            CHECK_OK(lathe_opencl_tensor_memory(t.to.tensor, &data, &scales));
            CHECK(data.memory == t.to.memory && data.offset == t.to.data_offset, "data");
            CHECK(t.to.scale_bytes == 0 ||
                      (scales.memory == t.to.memory && scales.offset == t.to.scale_offset),
                  "scales");
            CHECK(lathe_tensor_memory(t.to.tensor) == LATHE_MEMORY_DEVICE, "memory");
            write_side(queue, &t.from, NULL);
            trial_again(&t, queue);
            CHECK_OK(lathe_convert_into(engine, t.from.tensor, &t.target, t.to.tensor, NULL));
            read_side(queue, &t.to, 0, NULL);
            CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
            check_result(&t);
            trial_free(&t);
        }
    }
    finish(queue);
}

/* What the library makes is the caller's to use as well. */
Test(opencl_interop, memory_of_the_engines_own_tensors) {
    cl_command_queue queue = queue_of(0);
    trial t = trial_at(1, 0, 0);
    lathe_tensor *result = NULL;
    lathe_opencl_memory data;
    lathe_opencl_memory scales;
    write_side(queue, &t.from, NULL);
    CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
    CHECK_OK(lathe_convert(engine, t.from.tensor, &t.target, &result, NULL));
    CHECK_OK(lathe_opencl_tensor_memory(result, &data, &scales));
    CHECK(clEnqueueCopyBuffer(queue, data.memory, t.to.memory, data.offset, t.to.data_offset,
                              t.to.data_bytes, 0, NULL, NULL) == CL_SUCCESS &&
              clEnqueueCopyBuffer(queue, scales.memory, t.to.memory, scales.offset,
                                  t.to.scale_offset, t.to.scale_bytes, 0, NULL, NULL) == CL_SUCCESS,
          "clEnqueueCopyBuffer");
    read_side(queue, &t.to, 0, NULL);
    CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
    CHECK(memcmp(t.to.host + t.to.data_offset, lathe_tensor_data(t.expected), t.to.data_bytes) == 0,
          "data");
    lathe_tensor_release(result);
    CHECK_OK(lathe_opencl_tensor_memory(t.from.tensor, &data, NULL));
    CHECK_STATUS(lathe_opencl_tensor_memory(t.source, &data, &scales), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_opencl_tensor_memory(NULL, &data, &scales), LATHE_INVALID_ARGUMENT);
    trial_free(&t);
    finish(queue);
}

Test(opencl_interop, memory_that_does_not_fit_is_refused) {
    cl_int error;
    const lathe_target target = target_of(LATHE_I8, LATHE_PER_ROW);
    const lathe_tensor_desc desc = desc_of(&target);
    cl_context other = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    CHECK(error == CL_SUCCESS, "clCreateContext");
    cl_mem good = clCreateBuffer(context, CL_MEM_READ_WRITE, N_ELEMS, NULL, &error);
    cl_mem foreign = clCreateBuffer(other, CL_MEM_READ_WRITE, N_ELEMS, NULL, &error);
    cl_mem constant = clCreateBuffer(context, CL_MEM_READ_ONLY, N_ELEMS, NULL, &error);
    lathe_tensor *tensor = NULL;
    const struct {
        lathe_opencl_memory data;
        lathe_opencl_memory scales;
        uint32_t flags;
    } bad[] = {
        {{NULL, 0}, {good, 0}, 0},
        {{good, 0}, {NULL, 0}, 0},
        {{foreign, 0}, {good, 0}, 0},
        {{good, 0}, {foreign, 0}, 0},
        {{good, 1}, {good, 0}, 0},
        {{good, SIZE_MAX}, {good, 0}, 0},
        {{good, N_ELEMS + 1}, {good, 0}, 0},
        {{good, 0}, {good, 2}, 0},
        {{good, 0}, {good, N_ELEMS - ROWS * 4 + 3}, 0},
        {{good, 0}, {good, 0}, 4},
        {{constant, 0}, {good, 0}, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(lathe_opencl_tensor_wrap(engine, &desc, bad[i].data, bad[i].scales,
                                              bad[i].flags, &tensor),
                     LATHE_INVALID_ARGUMENT);
    }
    const lathe_opencl_memory whole = {good, 0};
    const lathe_opencl_memory read_only = {constant, 0};
    CHECK_STATUS(lathe_opencl_tensor_wrap(NULL, &desc, whole, whole, 0, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_opencl_tensor_wrap(engine, NULL, whole, whole, 0, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_opencl_tensor_wrap(engine, &desc, whole, whole, 0, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_opencl_tensor_wrap(cpu, &desc, whole, whole, 0, &tensor),
                 LATHE_NOT_SUPPORTED);
    CHECK(tensor == NULL, "the output was touched");
    CHECK_OK(
        lathe_opencl_tensor_wrap(engine, &desc, read_only, whole, LATHE_WRAP_READ_ONLY, &tensor));
    CHECK(lathe_tensor_is_read_only(tensor), "read-only");
    lathe_tensor_release(tensor);
    CHECK(clReleaseMemObject(good) == CL_SUCCESS && clReleaseMemObject(foreign) == CL_SUCCESS &&
              clReleaseMemObject(constant) == CL_SUCCESS && clReleaseContext(other) == CL_SUCCESS,
          "release");
}

/* ---- in the caller's queue */

/* Write, convert, read, with nothing between them but the queue's order. The second time the pair's
 * program is there. */
Test(opencl_interop, in_an_in_order_queue) {
    static const size_t offsets[][2] = {{0, 0}, {5, 3}};
    cl_command_queue queue = queue_of(0);
    for (size_t i = 0; i < N_PAIRS; i++) {
        for (size_t round = 0; round < 4; round++) {
            trial t = trial_at(i, offsets[round % 2][0], offsets[round % 2][1]);
            cl_event done = NULL;
            lathe_event *event = NULL;
            lathe_convert_stats stats = {.struct_size = sizeof stats};
            write_side(queue, &t.from, NULL);
            write_side(queue, &t.to, NULL);
            CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, t.from.tensor, &t.target,
                                                  t.to.tensor, 0, NULL, &done, &event));
            read_side(queue, &t.to, 0, NULL);
            CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
            check_result(&t);
            CHECK(clWaitForEvents(1, &done) == CL_SUCCESS, "clWaitForEvents");
            CHECK(execution_status(done) == CL_COMPLETE, "done");
            CHECK(round < 2 || went_straight(done) == pairs[i].is_straight, "the way");
            CHECK_OK(lathe_event_status(event));
            CHECK_OK(lathe_event_stats(event, &stats));
            lathe_tensor *result = lathe_event_result(event);
            CHECK(result == t.to.tensor, "the result");
            lathe_tensor_release(result);
            lathe_event_release(event);
            CHECK(clReleaseEvent(done) == CL_SUCCESS, "clReleaseEvent");
            trial_free(&t);
        }
    }
    finish(queue);
}

Test(opencl_interop, in_an_out_of_order_queue) {
    cl_command_queue queue = queue_of(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    if (queue == NULL) {
        cr_skip_test("the device has no such queues");
    }
    for (size_t i = 0; i < N_PAIRS; i++) {
        for (int round = 0; round < 2; round++) {
            trial t = trial_at(i, 16, 32);
            cl_event written[2];
            cl_event done = NULL;
            write_side(queue, &t.from, &written[0]);
            write_side(queue, &t.to, &written[1]);
            CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, t.from.tensor, &t.target,
                                                  t.to.tensor, 2, written, &done, NULL));
            read_side(queue, &t.to, 1, &done);
            CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
            check_result(&t);
            CHECK(clReleaseEvent(done) == CL_SUCCESS && clReleaseEvent(written[0]) == CL_SUCCESS &&
                      clReleaseEvent(written[1]) == CL_SUCCESS,
                  "clReleaseEvent");
            trial_free(&t);
        }
    }
    finish(queue);
}

/* One conversion after the other, F32 to F16 to I8 to F32, two of them through buffers that only
 * the queue fills. */
Test(opencl_interop, a_chain) {
    cl_command_queue queue = queue_of(0);
    const lathe_target f32 = target_of(LATHE_F32, LATHE_PER_TENSOR);
    const lathe_target f16 = target_of(LATHE_F16, LATHE_PER_TENSOR);
    const lathe_target i8 = target_of(LATHE_I8, LATHE_PER_ROW);
    trial first = trial_of(&f32, &f16, 0, 0);
    trial last = trial_of(&i8, &f32, 0, 0);
    lathe_tensor *codes = NULL;
    lathe_tensor *decoded = NULL;
    CHECK_OK(lathe_convert(cpu, first.expected, &i8, &codes, NULL));
    CHECK_OK(lathe_convert(cpu, codes, &f32, &decoded, NULL));
    for (int round = 0; round < 3; round++) {
        memset(last.to.host, GUARD_BYTE, last.to.n_bytes);
        write_side(queue, &first.from, NULL);
        CHECK(clEnqueueFillBuffer(queue, last.to.memory, &(uint8_t){GUARD_BYTE}, 1, 0,
                                  last.to.n_bytes, 0, NULL, NULL) == CL_SUCCESS,
              "clEnqueueFillBuffer");
        CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, first.from.tensor, &f16,
                                              first.to.tensor, 0, NULL, NULL, NULL));
        lathe_tensor_desc desc = desc_of(&i8);
        side middle = side_of(engine, &desc, 8, 0);
        CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, first.to.tensor, &i8, middle.tensor, 0,
                                              NULL, NULL, NULL));
        CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, middle.tensor, &f32, last.to.tensor, 0,
                                              NULL, NULL, NULL));
        read_side(queue, &last.to, 0, NULL);
        CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
        CHECK(memcmp(last.to.host + last.to.data_offset, lathe_tensor_data(decoded),
                     last.to.data_bytes) == 0,
              "data");
        /* The kernel is over; whether the worker has let go of the tensors yet is unknown. */
        lathe_tensor_release(middle.tensor);
        CHECK(clReleaseMemObject(middle.memory) == CL_SUCCESS, "clReleaseMemObject");
        free(middle.host);
    }
    lathe_tensor_release(decoded);
    lathe_tensor_release(codes);
    lathe_engine_free(engine); /* lets go of everything */
    trial_free(&last);
    trial_free(&first);
    finish(queue);
    engine = NULL;
}

/* ---- events */

/* Many conversions stand before a user event, more than there are workers; others go on. */
Test(opencl_interop, waiting_for_a_user_event) {
    enum { N = 12 };
    cl_command_queue queues[N];
    cl_event done[N];
    lathe_event *events[N];
    trial trials[N];
    cl_int error;
    cl_event go = clCreateUserEvent(context, &error);
    CHECK(error == CL_SUCCESS, "clCreateUserEvent");
    for (size_t i = 0; i < N; i++) {
        queues[i] = queue_of(0);
        trials[i] = trial_at(i % N_PAIRS, 0, 0);
        write_side(queues[i], &trials[i].from, NULL);
        write_side(queues[i], &trials[i].to, NULL);
        CHECK_OK(lathe_opencl_enqueue_convert(engine, queues[i], trials[i].from.tensor,
                                              &trials[i].target, trials[i].to.tensor, 1, &go,
                                              &done[i], &events[i]));
        read_side(queues[i], &trials[i].to, 0, NULL);
        CHECK(clFlush(queues[i]) == CL_SUCCESS, "clFlush");
    }
    lathe_event *other = NULL;
    CHECK_OK(lathe_convert_async(engine, trials[0].source, &trials[0].target, &other));
    CHECK(lathe_event_wait(other, 60 * SECONDS), "a conversion that has nothing to wait for");
    CHECK_OK(lathe_event_status(other));
    lathe_event_release(other);
    pause_ms(20);
    for (size_t i = 0; i < N; i++) {
        CHECK(execution_status(done[i]) > CL_COMPLETE && !lathe_event_is_done(events[i]), "%zu", i);
    }
    CHECK(clSetUserEventStatus(go, CL_COMPLETE) == CL_SUCCESS, "clSetUserEventStatus");
    for (size_t i = 0; i < N; i++) {
        CHECK(lathe_event_wait(events[i], 60 * SECONDS), "conversion %zu", i);
        CHECK_OK(lathe_event_status(events[i]));
        finish(queues[i]);
        check_result(&trials[i]);
        CHECK(execution_status(done[i]) == CL_COMPLETE, "done");
        CHECK(clReleaseEvent(done[i]) == CL_SUCCESS, "clReleaseEvent");
        lathe_event_release(events[i]);
        trial_free(&trials[i]);
    }
    CHECK(clReleaseEvent(go) == CL_SUCCESS, "clReleaseEvent");
}

/* A NaN on the way: both events say so, and the queue goes on. */
Test(opencl_interop, a_failed_conversion) {
    cl_command_queue queue = queue_of(0);
    const size_t bad = 4321;
    trial t = trial_at(1, 0, 0);
    cl_event done = NULL;
    lathe_event *event = NULL;
    uint32_t nan = 0x7fc00000u;
    memcpy(t.from.host + t.from.data_offset + 4 * bad, &nan, 4);
    write_side(queue, &t.from, NULL);
    CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, t.from.tensor, &t.target, t.to.tensor, 0,
                                          NULL, &done, &event));
    CHECK(clEnqueueFillBuffer(queue, t.to.memory, &(uint8_t){1}, 1, 0, t.to.n_bytes, 0, NULL,
                              NULL) == CL_SUCCESS,
          "clEnqueueFillBuffer");
    read_side(queue, &t.to, 0, NULL);
    CHECK(clFinish(queue) == CL_SUCCESS, "the queue goes on");
    CHECK(t.to.host[0] == 1 && t.to.host[t.to.n_bytes - 1] == 1, "the queue goes on");
    CHECK_STATUS(lathe_event_status(event), LATHE_NON_FINITE);
    CHECK(lathe_last_error()->element == bad, "element");
    CHECK(lathe_event_result(event) == NULL, "a result");
    CHECK(clWaitForEvents(1, &done) != CL_SUCCESS, "done is an error");
    CHECK(execution_status(done) < 0, "done is an error");
    CHECK(clReleaseEvent(done) == CL_SUCCESS, "clReleaseEvent");
    lathe_event_release(event);
    trial_free(&t);
    finish(queue);
}

/* What the conversion waits for fails: it is not run. */
Test(opencl_interop, a_failed_wait) {
    for (size_t i = 0; i < 2; i++) {
        for (int round = 0; round < 2; round++) {
            cl_command_queue queue = queue_of(0);
            cl_int error;
            cl_event go = clCreateUserEvent(context, &error);
            trial t = trial_at(i, 0, 0);
            cl_event done = NULL;
            lathe_event *event = NULL;
            write_side(queue, &t.from, NULL);
            trial_again(&t, queue);
            if (round == 1) {
                CHECK_OK(lathe_convert_into(engine, t.from.tensor, &t.target, t.to.tensor, NULL));
                trial_again(&t, queue);
            }
            CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, t.from.tensor, &t.target,
                                                  t.to.tensor, 1, &go, &done, &event));
            CHECK(clSetUserEventStatus(go, -1) == CL_SUCCESS, "clSetUserEventStatus");
            CHECK(lathe_event_wait(event, 60 * SECONDS), "it ends");
            CHECK_STATUS(lathe_event_status(event), LATHE_DEVICE);
            (void)clWaitForEvents(1, &done);
            CHECK(execution_status(done) < 0, "done is an error");
            (void)clFinish(queue);
            cl_command_queue fresh = queue_of(0);
            read_side(fresh, &t.to, 0, NULL);
            finish(fresh);
            CHECK(is_guard(&t.to, 0, t.to.n_bytes), "the result was touched");
            CHECK(clReleaseEvent(done) == CL_SUCCESS && clReleaseEvent(go) == CL_SUCCESS,
                  "clReleaseEvent");
            lathe_event_release(event);
            trial_free(&t);
            CHECK(clReleaseCommandQueue(queue) == CL_SUCCESS, "clReleaseCommandQueue");
        }
    }
}

static void count(void *ctx, lathe_event *event, lathe_status status) {
    (void)event;
    (void)atomic_fetch_add((atomic_int *)ctx, status == LATHE_OK);
}

/* Nobody keeps an event or a tensor; freeing the engine waits. */
Test(opencl_interop, everything_may_be_released_early) {
    cl_command_queue queue = queue_of(0);
    atomic_int n_done = 0;
    trial trials[2 * N_PAIRS];
    for (size_t i = 0; i < 2 * N_PAIRS; i++) {
        lathe_event *event = NULL;
        trials[i] = trial_at(i % N_PAIRS, 0, 0);
        write_side(queue, &trials[i].from, NULL);
        write_side(queue, &trials[i].to, NULL);
        CHECK_OK(lathe_opencl_enqueue_convert(engine, queue, trials[i].from.tensor,
                                              &trials[i].target, trials[i].to.tensor, 0, NULL, NULL,
                                              &event));
        CHECK_OK(lathe_event_on_done(event, count, &n_done));
        lathe_event_release(event);
        lathe_tensor_release(trials[i].from.tensor);
        lathe_tensor_release(trials[i].to.tensor);
        trials[i].from.tensor = trials[i].to.tensor = NULL;
        read_side(queue, &trials[i].to, 0, NULL);
    }
    lathe_engine_free(engine);
    engine = NULL;
    CHECK(atomic_load(&n_done) == 2 * N_PAIRS, "%d are done", atomic_load(&n_done));
    finish(queue);
    for (size_t i = 0; i < 2 * N_PAIRS; i++) {
        check_result(&trials[i]);
        trial_free(&trials[i]);
    }
}

Test(opencl_interop, what_cannot_be_enqueued) {
    cl_int error;
    cl_command_queue queue = queue_of(0);
    trial t = trial_at(0, 0, 0);
    cl_context other = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    cl_command_queue foreign_queue = clCreateCommandQueue(other, device, 0, &error);
    cl_event foreign_event = clCreateUserEvent(other, &error);
    lathe_engine *second = engine_on(context);
    const lathe_target f32 = target_of(LATHE_F32, LATHE_PER_TENSOR);
    const lathe_tensor_desc source = desc_of(&f32);
    const lathe_tensor_desc result = desc_of(&t.target);
    side theirs = side_of(second, &source, 0, 0);
    side read_only = side_of(engine, &result, 0, LATHE_WRAP_READ_ONLY);
    lathe_tensor *overlapping = NULL;
    CHECK_OK(lathe_opencl_tensor_wrap(engine, &result,
                                      (lathe_opencl_memory){t.from.memory, N_ELEMS},
                                      (lathe_opencl_memory){NULL, 0}, 0, &overlapping));
    cl_event done = NULL;
    lathe_event *event = NULL;
    const lathe_target wrong = target_of(LATHE_BF16, LATHE_PER_TENSOR);
    lathe_tensor *const from = t.from.tensor;
    lathe_tensor *const to = t.to.tensor;
#define REFUSED(expected, ...)                                                                     \
    CHECK_STATUS(lathe_opencl_enqueue_convert(__VA_ARGS__, &done, &event), expected)
    REFUSED(LATHE_INVALID_ARGUMENT, NULL, queue, from, &t.target, to, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, NULL, from, &t.target, to, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, foreign_queue, from, &t.target, to, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, NULL, &t.target, to, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, from, NULL, to, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, from, &t.target, NULL, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, t.source, &t.target, to, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, from, &t.target, t.expected, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, theirs.tensor, &t.target, to, 0, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, from, &t.target, to, 1, NULL);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, from, &t.target, to, 1, &foreign_event);
    REFUSED(LATHE_INVALID_ARGUMENT, engine, queue, from, &t.target, overlapping, 0, NULL);
    REFUSED(LATHE_INCOMPATIBLE_TYPES, engine, queue, from, &wrong, to, 0, NULL);
    REFUSED(LATHE_READ_ONLY, engine, queue, from, &t.target, read_only.tensor, 0, NULL);
    REFUSED(LATHE_NOT_SUPPORTED, cpu, queue, from, &t.target, to, 0, NULL);
#undef REFUSED
    CHECK(done == NULL && event == NULL, "the outputs were touched");
    CHECK(clSetUserEventStatus(foreign_event, CL_COMPLETE) == CL_SUCCESS &&
              clReleaseEvent(foreign_event) == CL_SUCCESS,
          "clReleaseEvent");
    lathe_tensor_release(overlapping);
    side_free(&read_only);
    side_free(&theirs);
    lathe_engine_free(second);
    finish(foreign_queue);
    CHECK(clReleaseContext(other) == CL_SUCCESS, "clReleaseContext");
    trial_free(&t);
    finish(queue);
}
