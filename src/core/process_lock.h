/* SPDX-License-Identifier: Apache-2.0 */
/* Locks for what all engines of a process share. A fork waits for them, so that a child, which
 * makes engines of its own, finds them free and nothing half done. */
#ifndef LT_CORE_PROCESS_LOCK_H
#define LT_CORE_PROCESS_LOCK_H

typedef enum lt_process_lock {
    LT_LOCK_MERGING = 0, /* one range's sums or counts into those of all ranges: a microsecond */
    LT_LOCK_PAGE_RUNS,
    LT_LOCK_GATES, /* what waits for OpenCL events */
    LT_LOCK_COUNT,
} lt_process_lock;

/* Nobody takes another lock, or calls what may fork, before the unlock. So none of these is held
 * while an OpenCL driver is called, which may fork to compile, and whose own locks a child cannot
 * count on anyway. */
void lt_lock_process(lt_process_lock lock);
void lt_unlock_process(lt_process_lock lock);

#endif
