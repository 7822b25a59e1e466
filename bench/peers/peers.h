/* SPDX-License-Identifier: Apache-2.0 */
/* Other libraries' conversions, for lathe bench --peers. */
#ifndef LATHE_BENCH_PEERS_H
#define LATHE_BENCH_PEERS_H

#include <lathe/dtype.h>
#include <stdbool.h>
#include <stddef.h>

/* A conversion that is being run. Both sides are exactly as long as the peer says. */
typedef struct peer_run {
    const void *src;
    void *dst;
    size_t n_elems;
    float scale; /* where the scale is given */
    void *state; /* the peer's own */
} peer_run;

/* What a peer is set beside: conversions with these scales, as bits. GIVEN: the scale is known, and
 * nothing but the codes is made. */
enum { PEER_TENSOR = 1, PEER_ROW = 2, PEER_GROUP = 4, PEER_GIVEN = 8 };

/* One function of another library, run by the calling thread. */
typedef struct peer {
    const char *name; /* the library, and what it computes where that is something else */
    lathe_dtype from;
    lathe_dtype to;
    unsigned scales;    /* floats on both sides: PEER_TENSOR */
    size_t block_elems; /* it converts whole blocks */
    size_t src_block_bytes;
    size_t dst_block_bytes;
    /* Writes its source, of a format of its own, from floats. NULL: it reads what Lathe reads. */
    void (*make_source)(const float *values, void *src, size_t n_elems);
    /* Both NULL where nothing is prepared. open returns false where the library cannot do it. */
    bool (*open)(peer_run *run);
    void (*close)(peer_run *run);
    void (*convert)(const peer_run *run);
} peer;

/* A library's peers, in an array. */
typedef struct peer_library {
    const char *name;
    const peer *peers;
    size_t n_peers;
} peer_library;

/* The libraries that were found when this was built. */
extern const peer_library *const peer_libraries[];
extern const size_t n_peer_libraries;

extern const peer_library peer_library_fp16;
extern const peer_library peer_library_ggml;
extern const peer_library peer_library_xnnpack;

#endif
