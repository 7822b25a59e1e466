/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes and times as a person reads them, with one decimal, which is cut off: 1.5 MiB, 12.3 us. */
#ifndef LT_ENGINE_AMOUNT_H
#define LT_ENGINE_AMOUNT_H

#include <stdint.h>

typedef struct lt_amount {
    char text[32];
} lt_amount;

lt_amount lt_bytes_text(uint64_t n_bytes);
lt_amount lt_time_text(double ns);

#endif
