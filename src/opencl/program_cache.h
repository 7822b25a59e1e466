/* SPDX-License-Identifier: Apache-2.0 */
/* The program cache: compiled programs in a folder, a file each, from one process to the next. A
 * file is looked through before a driver sees a byte of it, and whatever is wrong with the cache,
 * it is as if there were none. No function here touches the thread's last error. */
#ifndef LT_OPENCL_PROGRAM_CACHE_H
#define LT_OPENCL_PROGRAM_CACHE_H

#include "opencl/device.h"

/* The hash of all that a binary depends on. */
typedef struct lt_cl_cache_key {
    uint8_t bytes[16];
} lt_cl_cache_key;

/* The key of what the kernel sources give with these options on that device. Returns false where
 * the device does not say what it is. */
bool lt_cl_cache_key_of(const lt_cl_device *device, const char *options, lt_cl_cache_key *key);

/* Reads a binary. It is a block of the pool, which the caller gives back. Returns false, and leaves
 * the outputs alone, where there is none that is whole. */
bool lt_cl_cache_load(lathe_pool *pool, const char *folder, const lt_cl_cache_key *key,
                      void **binary, size_t *n_bytes);

/* Writes a binary, and makes the folder if need be. Where it cannot, it leaves nothing behind. */
void lt_cl_cache_store(lathe_pool *pool, const char *folder, const lt_cl_cache_key *key,
                       const void *binary, size_t n_bytes);

/* Takes a binary away. */
void lt_cl_cache_remove(const char *folder, const lt_cl_cache_key *key);

#endif
