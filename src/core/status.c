/* SPDX-License-Identifier: Apache-2.0 */
/* Names and meanings of the status codes. */
#include <lathe/status.h>

const char *lathe_status_name(lathe_status status) {
    switch (status) {
#define STATUS_NAME(name, number, text)                                                            \
    case LATHE_##name:                                                                             \
        return #name;
        LATHE_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    }
    return "UNKNOWN";
}

const char *lathe_status_text(lathe_status status) {
    switch (status) {
#define STATUS_TEXT(name, number, text)                                                            \
    case LATHE_##name:                                                                             \
        return text;
        LATHE_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}
