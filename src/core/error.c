/* SPDX-License-Identifier: Apache-2.0 */
/* The thread's last error. */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local lathe_error last_error = {.status = LATHE_OK, .element = LATHE_NO_ELEMENT};

/* Names in a message come from files: keep the message one printable line. */
static void sanitize(char *text) {
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = '?';
        }
    }
}

lathe_status lt_fail(lathe_status status, const char *format, ...) {
    lathe_error error = {.status = status, .element = LATHE_NO_ELEMENT};
    va_list args;
    va_start(args, format);
    /* The arguments may point into last_error, so it is replaced only afterwards. */
    (void)vsnprintf(error.message, sizeof error.message, format, args);
    va_end(args);
    sanitize(error.message);
    last_error = error;
    return status;
}

lathe_error *lt_error(void) {
    return &last_error;
}

lathe_status lt_fail_with(const lathe_error *error) {
    last_error = *error;
    return error->status;
}

lathe_status lt_fail_prefix(const char *format, ...) {
    char message[sizeof last_error.message];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (length >= 0 && (size_t)length < sizeof message) {
        int room = (int)(sizeof message - (size_t)length) - (int)sizeof ": ";
        (void)snprintf(message + length, sizeof message - (size_t)length, ": %.*s",
                       room > 0 ? room : 0, last_error.message);
    }
    sanitize(message);
    memcpy(last_error.message, message, sizeof message);
    return last_error.status;
}

const lathe_error *lathe_last_error(void) {
    return &last_error;
}
