/* SPDX-License-Identifier: Apache-2.0 */
/* What an aarch64 processor can do. */
#ifndef LT_CPU_ARM_DETECT_H
#define LT_CPU_ARM_DETECT_H

#include "cpu/features.h"

/* Fills in what it can find out. Thread-safe. */
void lt_cpu_features_detect_arm(lt_cpu_features *features);

#endif
