/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/status.h: pinned numbers, names, and the thread's last error. */
#include "check.h"
#include "support.h"
#include <limits.h>
#include <pthread.h>
#include <string.h>

typedef struct pinned {
    int number;
    const char *name;
} pinned;

/* Written out once more: a change of a number breaks callers, and must break this. */
static const pinned all[] = {
    {0, "OK"},
    {1, "INVALID_ARGUMENT"},
    {2, "SIZE_OVERFLOW"},
    {3, "INSUFFICIENT_MEMORY"},
    {4, "INCOMPATIBLE_TYPES"},
    {5, "NON_FINITE"},
    {6, "DATA_LOSS"},
    {7, "CORRUPT_DATA"},
    {8, "READ_ONLY"},
    {9, "NOT_SUPPORTED"},
    {10, "IO"},
    {11, "MALFORMED_FILE"},
    {12, "EXISTS"},
    {13, "CANCELLED"},
    {14, "DEVICE"},
    {15, "NOT_FOUND"},
    {16, "SHARED"},
};
enum { N_STATUSES = sizeof all / sizeof all[0] };

Test(status, numbers_and_names_are_pinned) {
    for (size_t i = 0; i < N_STATUSES; i++) {
        lathe_status status = (lathe_status)all[i].number;
        CHECK(strcmp(lathe_status_name(status), all[i].name) == 0, "%s", all[i].name);
        CHECK(lathe_status_text(status)[0] != '\0', "%s", all[i].name);
    }
    size_t n_listed = 0;
#define COUNT(name, number, text) n_listed++;
    LATHE_STATUS_LIST(COUNT)
#undef COUNT
    CHECK(n_listed == N_STATUSES, "%zu statuses", n_listed);
}

Test(status, texts_differ) {
    for (size_t i = 0; i < N_STATUSES; i++) {
        for (size_t j = 0; j < i; j++) {
            CHECK(strcmp(lathe_status_text((lathe_status)all[i].number),
                         lathe_status_text((lathe_status)all[j].number)) != 0,
                  "%s and %s", all[i].name, all[j].name);
        }
    }
}

Test(status, other_numbers_are_unknown) {
    static const int wrong[] = {-1, 17, 1000, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        volatile int number = wrong[i];
        CHECK(strcmp(lathe_status_name((lathe_status)number), "UNKNOWN") == 0, "%d", wrong[i]);
        CHECK(lathe_status_text((lathe_status)number) != NULL, "%d", wrong[i]);
    }
}

Test(last_error, starts_without_an_error) {
    const lathe_error *error = lathe_last_error();
    CHECK(error != NULL, "the pointer is never NULL");
    CHECK(error->status == LATHE_OK, "%s", lathe_status_name(error->status));
    CHECK(error->element == LATHE_NO_ELEMENT, "element");
    CHECK(error->message[0] == '\0', "%s", error->message);
}

Test(last_error, survives_success_and_is_replaced_by_the_next_failure) {
    lathe_pool *pool = NULL;
    CHECK_STATUS(lathe_pool_create(NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK(lathe_last_error()->status == LATHE_INVALID_ARGUMENT, "success leaves the error alone");
    lathe_tensor_desc desc = {.struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2};
    const uint64_t shape[] = {UINT64_MAX, UINT64_MAX};
    desc.shape = shape;
    CHECK_STATUS(lathe_tensor_desc_sizes(&desc, NULL, NULL, NULL), LATHE_SIZE_OVERFLOW);
    lathe_pool_release(pool);
}

Test(last_error, details_do_not_linger) {
    lathe_pool_config config = {.struct_size = sizeof config, .budget_bytes = 4096};
    lathe_pool *pool = NULL;
    void *block = NULL;
    CHECK_OK(lathe_pool_create(&config, &pool));
    CHECK_STATUS(lathe_pool_alloc(pool, 1 << 20, &block), LATHE_INSUFFICIENT_MEMORY);
    CHECK(lathe_last_error()->required_bytes >= 1 << 20, "required");
    CHECK_STATUS(lathe_pool_free(pool, &config), LATHE_INVALID_ARGUMENT);
    CHECK(lathe_last_error()->required_bytes == 0, "details of the previous error");
    CHECK(lathe_last_error()->available_bytes == 0, "details of the previous error");
    CHECK(lathe_last_error()->element == LATHE_NO_ELEMENT, "element");
    lathe_pool_release(pool);
}

static void *fail_on_another_thread(void *ctx) {
    const lathe_error *error = lathe_last_error();
    bool *clean = ctx;
    *clean = error->status == LATHE_OK;
    (void)lathe_tensor_validate(NULL);
    *clean = *clean && lathe_last_error()->status == LATHE_INVALID_ARGUMENT;
    return NULL;
}

Test(last_error, belongs_to_its_thread) {
    lathe_tensor_desc desc = {.struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2};
    const uint64_t shape[] = {UINT64_MAX, 3};
    desc.shape = shape;
    CHECK_STATUS(lathe_tensor_desc_sizes(&desc, NULL, NULL, NULL), LATHE_SIZE_OVERFLOW);
    pthread_t thread;
    bool clean = false;
    CHECK(pthread_create(&thread, NULL, fail_on_another_thread, &clean) == 0, "pthread_create");
    CHECK(pthread_join(thread, NULL) == 0, "pthread_join");
    CHECK(clean, "another thread sees an error that is not its own");
    CHECK(lathe_last_error()->status == LATHE_SIZE_OVERFLOW, "another thread changed this one's");
}
