/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --peers in a build without other libraries: there are none. */
#include "peers.h"

const char *bench_peer_libraries(void) {
    return "";
}

lathe_status bench_peers_open(bench_peers *peers, lathe_pool *pool, const bench_case *c,
                              const bench_peer_data *data) {
    (void)pool;
    (void)c;
    (void)data;
    *peers = (bench_peers){0};
    return LATHE_OK;
}

lathe_status bench_peer_run(void *ctx, uint64_t rounds) {
    (void)ctx;
    (void)rounds;
    return LATHE_NOT_SUPPORTED;
}

void bench_peers_close(bench_peers *peers) {
    (void)peers;
}
