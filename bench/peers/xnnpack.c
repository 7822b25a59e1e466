/* SPDX-License-Identifier: Apache-2.0 */
/* XNNPACK: its conversion operators, on the calling thread. */
#include "peers.h"
#include <xnnpack.h>

/* The operator's input is one row of all elements. It is set up once: running it again reads and
 * writes the same buffers. */
static bool finish_open(peer_run *run, enum xnn_status status, xnn_operator_t op) {
    run->state = op;
    return status == xnn_status_success;
}

static void delete_operator(peer_run *run) {
    xnn_delete_operator(run->state);
}

static void run_operator(const peer_run *run) {
    (void)xnn_run_operator(run->state, NULL);
}

static bool start(void) {
    return xnn_initialize(NULL) == xnn_status_success;
}

static bool open_f32_f16(peer_run *run) {
    xnn_operator_t op = NULL;
    if (!start() || xnn_create_convert_nc_f32_f16(run->n_elems, run->n_elems, run->n_elems, 0,
                                                  &op) != xnn_status_success) {
        return false;
    }
    return finish_open(run, xnn_setup_convert_nc_f32_f16(op, 1, run->src, run->dst, NULL), op);
}

static bool open_f16_f32(peer_run *run) {
    xnn_operator_t op = NULL;
    if (!start() || xnn_create_convert_nc_f16_f32(run->n_elems, run->n_elems, run->n_elems, 0,
                                                  &op) != xnn_status_success) {
        return false;
    }
    return finish_open(run, xnn_setup_convert_nc_f16_f32(op, 1, run->src, run->dst, NULL), op);
}

static bool open_f32_qs8(peer_run *run) {
    xnn_operator_t op = NULL;
    if (!start() ||
        xnn_create_convert_nc_f32_qs8(run->n_elems, run->n_elems, run->n_elems, run->scale, 0, -127,
                                      127, 0, &op) != xnn_status_success) {
        return false;
    }
    return finish_open(run, xnn_setup_convert_nc_f32_qs8(op, 1, run->src, run->dst, NULL), op);
}

static bool open_qs8_f32(peer_run *run) {
    xnn_operator_t op = NULL;
    if (!start() || xnn_create_convert_nc_qs8_f32(run->n_elems, run->n_elems, run->n_elems,
                                                  run->scale, 0, 0, &op) != xnn_status_success) {
        return false;
    }
    return finish_open(run, xnn_setup_convert_nc_qs8_f32(op, 1, run->src, run->dst, NULL), op);
}

static const peer list[] = {
    {.name = "XNNPACK",
     .from = LATHE_F32,
     .to = LATHE_F16,
     .scales = PEER_TENSOR,
     .block_elems = 1,
     .src_block_bytes = 4,
     .dst_block_bytes = 2,
     .open = open_f32_f16,
     .close = delete_operator,
     .convert = run_operator},
    {.name = "XNNPACK",
     .from = LATHE_F16,
     .to = LATHE_F32,
     .scales = PEER_TENSOR,
     .block_elems = 1,
     .src_block_bytes = 2,
     .dst_block_bytes = 4,
     .open = open_f16_f32,
     .close = delete_operator,
     .convert = run_operator},
    {.name = "XNNPACK qs8",
     .from = LATHE_F32,
     .to = LATHE_I8,
     .scales = PEER_GIVEN,
     .block_elems = 1,
     .src_block_bytes = 4,
     .dst_block_bytes = 1,
     .open = open_f32_qs8,
     .close = delete_operator,
     .convert = run_operator},
    {.name = "XNNPACK qs8",
     .from = LATHE_I8,
     .to = LATHE_F32,
     .scales = PEER_TENSOR,
     .block_elems = 1,
     .src_block_bytes = 1,
     .dst_block_bytes = 4,
     .open = open_qs8_f32,
     .close = delete_operator,
     .convert = run_operator},
};

const peer_library peer_library_xnnpack = {"XNNPACK", list, sizeof(list) / sizeof(list[0])};
