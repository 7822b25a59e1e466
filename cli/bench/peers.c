/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --peers: other libraries' conversions beside a case. */
#include "bench/peers/peers.h"
#include "cli.h"
#include "peers.h"
#include <stdlib.h>
#include <string.h>

/* Libraries may reach a little beyond. */
enum { SLACK_BYTES = 64 };

typedef struct bench_peer {
    const peer *peer;
    peer_run run;
    void *src;
    bool is_open;
} bench_peer;

const char *bench_peer_libraries(void) {
    static char names[128];
    names[0] = '\0';
    for (size_t i = 0; i < n_peer_libraries; i++) {
        const size_t length = strlen(names);
        snprintf(names + length, sizeof(names) - length, "%s%s", i == 0 ? "" : ", ",
                 peer_libraries[i]->name);
    }
    return names;
}

/* The bit of what the case has for scales. */
static unsigned scales_of(const bench_case *c) {
    if (c->kind == BENCH_ENCODE) {
        return PEER_GIVEN;
    }
    switch (c->granularity) {
    case LATHE_PER_ROW:
        return PEER_ROW;
    case LATHE_PER_GROUP:
        return PEER_GROUP;
    default:
        return PEER_TENSOR;
    }
}

static bool is_beside(const peer *p, const bench_case *c, size_t n_elems) {
    return p->from == c->from && p->to == c->to && (p->scales & scales_of(c)) != 0 &&
           n_elems % p->block_elems == 0;
}

/* Has the peer write its own source where that has a format of its own. */
static lathe_status make_source(bench_peer *made, lathe_pool *pool, const bench_peer_data *data) {
    const peer *p = made->peer;
    const size_t n_bytes = data->n_elems / p->block_elems * p->src_block_bytes;
    made->run.src = data->src;
    if (p->make_source == NULL) {
        return LATHE_OK;
    }
    const lathe_status status = lathe_pool_alloc(pool, n_bytes + SLACK_BYTES, &made->src);
    if (status == LATHE_OK) {
        p->make_source(data->values, made->src, data->n_elems);
        made->run.src = made->src;
    }
    return status;
}

static lathe_status make_result(bench_peers *peers, bench_peer *made, const bench_peer_data *data) {
    const peer *p = made->peer;
    /* Enough for any format that a float becomes. */
    const size_t most_bytes = data->n_elems * sizeof(float) + SLACK_BYTES;
    made->run.dst = data->dst;
    if (data->n_elems / p->block_elems * p->dst_block_bytes <= data->dst_bytes) {
        return LATHE_OK;
    }
    lathe_status status = LATHE_OK;
    if (peers->dst == NULL) {
        status = lathe_pool_alloc(peers->pool, most_bytes, &peers->dst);
        if (status == LATHE_OK) {
            memset(peers->dst, 0, most_bytes);
        }
    }
    made->run.dst = peers->dst;
    return status;
}

static lathe_status add_peer(bench_peers *peers, const peer *p, const bench_peer_data *data) {
    bench_peer *made = cli_allocate(1, sizeof(*made));
    *made = (bench_peer){.peer = p, .run = {.n_elems = data->n_elems, .scale = data->scale}};
    peers->opened[peers->n] = made;
    peers->names[peers->n++] = p->name;
    lathe_status status = make_source(made, peers->pool, data);
    if (status == LATHE_OK) {
        status = make_result(peers, made, data);
    }
    if (status == LATHE_OK) {
        made->is_open = p->open == NULL || p->open(&made->run);
    }
    return status;
}

static void drop_peer(bench_peers *peers, size_t i) {
    bench_peer *dropped = peers->opened[i];
    if (dropped->peer->close != NULL && dropped->is_open) {
        dropped->peer->close(&dropped->run);
    }
    lathe_pool_free(peers->pool, dropped->src);
    free(dropped);
}

lathe_status bench_peers_open(bench_peers *peers, lathe_pool *pool, const bench_case *c,
                              const bench_peer_data *data) {
    lathe_status status = LATHE_OK;
    *peers = (bench_peers){.pool = pool};
    for (size_t i = 0; i < n_peer_libraries; i++) {
        const peer_library *library = peer_libraries[i];
        for (size_t k = 0; k < library->n_peers && status == LATHE_OK; k++) {
            if (peers->n == BENCH_MOST_PEERS || !is_beside(&library->peers[k], c, data->n_elems)) {
                continue;
            }
            status = add_peer(peers, &library->peers[k], data);
            if (status == LATHE_OK && !peers->opened[peers->n - 1]->is_open) {
                drop_peer(peers, --peers->n);
            }
        }
    }
    return status;
}

lathe_status bench_peer_run(void *ctx, uint64_t rounds) {
    const bench_peer *p = ctx;
    for (uint64_t i = 0; i < rounds; i++) {
        p->peer->convert(&p->run);
    }
    return LATHE_OK;
}

void bench_peers_close(bench_peers *peers) {
    for (size_t i = 0; i < peers->n; i++) {
        drop_peer(peers, i);
    }
    lathe_pool_free(peers->pool, peers->dst);
    *peers = (bench_peers){0};
}
