/* SPDX-License-Identifier: Apache-2.0 */
/* Names of strategies. */
#include <lathe/plan.h>

const char *lathe_strategy_name(lathe_strategy strategy) {
    switch (strategy) {
#define NAME_CASE(name, number, text)                                                              \
    case LATHE_STRATEGY_##name:                                                                    \
        return text;
        LATHE_STRATEGY_LIST(NAME_CASE)
#undef NAME_CASE
    }
    return "invalid";
}
