/* SPDX-License-Identifier: Apache-2.0 */
/* Other libraries' conversions beside a case of the bench. */
#ifndef LATHE_CLI_BENCH_PEERS_H
#define LATHE_CLI_BENCH_PEERS_H

#include "cases.h"

enum { BENCH_MOST_PEERS = 8 };

/* The peers of a case. Zero-initialised. */
typedef struct bench_peers {
    size_t n;
    const char *names[BENCH_MOST_PEERS];
    struct bench_peer *opened[BENCH_MOST_PEERS];
    lathe_pool *pool;
    void *dst; /* of those whose result does not fit into the case's; recycled */
} bench_peers;

/* What the case converts. Peers read and write the same memory where their formats let them: in
 * the caches it matters where a buffer lies. */
typedef struct bench_peer_data {
    const float *values; /* the elements in F32 */
    const void *src;     /* the bytes of the source */
    void *dst;           /* those of the result */
    size_t dst_bytes;
    size_t n_elems;
    float scale;
} bench_peer_data;

/* The libraries that this build has, "XNNPACK, ggml"; "" without any. */
const char *bench_peer_libraries(void);

/* Finds a case's peers, none perhaps, and prepares them. Errors: INSUFFICIENT_MEMORY. */
lathe_status bench_peers_open(bench_peers *peers, lathe_pool *pool, const bench_case *c,
                              const bench_peer_data *data);

/* A bench_fn, on the calling thread: ctx is one of `opened`. */
lathe_status bench_peer_run(void *ctx, uint64_t rounds);

/* Legal after a failed bench_peers_open. */
void bench_peers_close(bench_peers *peers);

#endif
