/* SPDX-License-Identifier: Apache-2.0 */
/* Whether one tensor can receive what converting another gives. */
#ifndef LT_ENGINE_CHECK_RESULT_H
#define LT_ENGINE_CHECK_RESULT_H

#include "core/tensor.h"

/* Checks that the result is what the target asks for, that it may be written to, and that it shares
 * no memory with the source; then it counts as changed. Errors: INCOMPATIBLE_TYPES, READ_ONLY,
 * INVALID_ARGUMENT, and those of lathe_target_desc. */
lathe_status lt_check_result(const lathe_tensor *source, const lathe_target *target,
                             const lathe_tensor *result);

/* The same where the target's description and its layout are known. */
lathe_status lt_check_result_is(const lathe_tensor *source, const lathe_tensor_desc *desc,
                                const lt_layout *layout, const lathe_tensor *result);

#endif
