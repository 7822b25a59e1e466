/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes, and the details of a thread's last error. */
#ifndef LATHE_STATUS_H
#define LATHE_STATUS_H

#include <lathe/dtype.h>
#include <lathe/export.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* X(name, number, what it means). The numbers are part of the ABI and never change. */
#define LATHE_STATUS_LIST(X)                                                                       \
    X(OK, 0, "success")                                                                            \
    X(INVALID_ARGUMENT, 1, "an argument is not of the required form")                              \
    X(SIZE_OVERFLOW, 2, "a size does not fit in 64 bits, or not in memory's address range")        \
    X(INSUFFICIENT_MEMORY, 3, "the memory budget, or the system, cannot serve the request")        \
    X(INCOMPATIBLE_TYPES, 4, "these data types or layouts cannot be used together")                \
    X(NON_FINITE, 5, "a NaN or an infinity stands where a quantized type needs a number")          \
    X(DATA_LOSS, 6, "strict mode: a value would not survive the conversion")                       \
    X(CORRUPT_DATA, 7, "data holds a value that no encoder writes")                                \
    X(READ_ONLY, 8, "the tensor is read-only")                                                     \
    X(NOT_SUPPORTED, 9, "this build or device does not do that")                                   \
    X(IO, 10, "a read or write failed")                                                            \
    X(MALFORMED_FILE, 11, "the file breaks the rules of its format")                               \
    X(EXISTS, 12, "the output exists already")                                                     \
    X(CANCELLED, 13, "the caller's callback asked to stop")                                        \
    X(DEVICE, 14, "a device or its driver failed")                                                 \
    X(NOT_FOUND, 15, "no such file, tensor or device")                                             \
    X(SHARED, 16, "the tensor's memory is in use through another reference or view")

typedef enum lathe_status {
#define LATHE_STATUS_ENUM(name, number, text) LATHE_##name = number,
    LATHE_STATUS_LIST(LATHE_STATUS_ENUM)
#undef LATHE_STATUS_ENUM
} lathe_status;

/* "OK", "INVALID_ARGUMENT", ...; "UNKNOWN" for any other number. Static. Thread-safe. */
LATHE_API const char *lathe_status_name(lathe_status status);

/* The meaning as a short phrase. Static. Thread-safe. */
LATHE_API const char *lathe_status_text(lathe_status status);

#define LATHE_NO_ELEMENT UINT64_MAX

/* The details of an error. A field that says nothing about this error is 0 (element: NO_ELEMENT).
 */
typedef struct lathe_error {
    lathe_status status;
    lathe_dtype from; /* the types of the conversion that failed */
    lathe_dtype to;
    uint64_t required_bytes; /* INSUFFICIENT_MEMORY: what was asked for, and what was left */
    uint64_t available_bytes;
    uint64_t element;  /* index of the first offending element, row-major over the whole tensor */
    const char *stage; /* what was being done: a static string such as "convert" */
    char message[512]; /* one line for a person */
} lathe_error;

/* The error of the calling thread's last failed call. A call that succeeds leaves it alone; before
 * any failure its status is LATHE_OK. The pointer belongs to the thread and is valid until its next
 * failed call or its end. */
LATHE_API const lathe_error *lathe_last_error(void);

LATHE_END_DECLS

#endif
