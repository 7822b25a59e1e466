/* SPDX-License-Identifier: Apache-2.0 */
/* The libraries whose conversions are built into the bench. */
#include "peers.h"

const peer_library *const peer_libraries[] = {
#if PEERS_HAVE_FP16
    &peer_library_fp16,
#endif
#if PEERS_HAVE_XNNPACK
    &peer_library_xnnpack,
#endif
#if PEERS_HAVE_GGML
    &peer_library_ggml,
#endif
};

const size_t n_peer_libraries = sizeof(peer_libraries) / sizeof(peer_libraries[0]);
