/* SPDX-License-Identifier: Apache-2.0 */
/* Large copies between the host's pageable memory and a device's own. */
#ifndef LT_ENGINE_STAGED_COPY_H
#define LT_ENGINE_STAGED_COPY_H

#include "backend.h"

/* True if so many bytes are worth it: several threads copy them through pinned memory of 4 MiB
 * each, where a driver's own copy is one thread's. */
bool lt_staged_copy_suits(const lt_backend *backend, uint64_t n_bytes);

/* Copies n_bytes from the host's memory to the buffer. Not from a task of the backend's own
 * threads, which it waits for. Errors: DEVICE, INSUFFICIENT_MEMORY; nothing of the caller's memory
 * is in use any more. */
lathe_status lt_staged_upload(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                              const void *host, uint64_t n_bytes);

/* The other way, likewise. */
lathe_status lt_staged_download(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                                void *host, uint64_t n_bytes);

/* The same in one transfer on a queue of its own: of the host's two pointers one is NULL. */
lathe_status lt_transfer(lt_backend *backend, const lt_buffer *buffer, uint64_t offset,
                         const void *from, void *to, uint64_t n_bytes);

#endif
