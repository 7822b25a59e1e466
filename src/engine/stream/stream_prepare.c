/* SPDX-License-Identifier: Apache-2.0 */
/* What units need of the source, where it goes in a slot, and how many of them can be one. */
#include "core/checked.h"
#include "engine/stream/stream_job.h"

/* ---- several units at once, of data that no slot holds */

static const lt_stream_sides both_in_memory = {.has_source = true, .has_sink = true};

/* How many units from `index` on are one. */
static uint64_t units_at(const lt_stream_job *j, uint64_t index) {
    return j->at_once == 1 ? 1 : lt_min(j->at_once, j->read_end - index);
}

uint64_t lt_stream_most_at_once(const lt_stream_job *j) {
    const uint64_t slot_bytes = j->streamer->slot_bytes; /* for scales */
    uint64_t n = 256;
    if (j->plan.pass.tiling.sampled && j->phase.prepare == lt_stream_prepare_tiles) {
        return 1;
    }
    for (uint64_t taken = 0; n > 1; n /= 2) {
        if (j->phase.prepare == lt_stream_prepare_tiles) {
            taken = lt_slot_tile_bytes(&j->plan, both_in_memory, n * j->tiles_per_unit);
        } else if (j->phase.prepare == lt_stream_prepare_chunk) {
            lt_ranges chunks = j->chunks;
            chunks.rows_per_range *= n;
            taken = lt_slot_chunk_bytes(&j->plan, both_in_memory, &chunks);
        }
        if (taken <= slot_bytes) {
            break;
        }
    }
    return n;
}

/* ---- chunks */

/* Chunks [index, index + n) as one range, if they are one. */
static bool merge_chunks(const lt_ranges *chunks, uint64_t index, uint64_t n, lt_ranges *merged) {
    const uint64_t row =
        chunks->first_row + index / chunks->ranges_per_row * chunks->rows_per_range;
    const uint64_t in_row = index % chunks->ranges_per_row;
    if (chunks->ranges_per_row > 1 && in_row + n > chunks->ranges_per_row) {
        return false;
    }
    *merged = *chunks;
    merged->n_ranges = 1;
    merged->first_row = row;
    if (chunks->ranges_per_row == 1) {
        merged->rows_per_range *= n;
    } else {
        merged->first_col += in_row * chunks->cols_per_range;
        merged->cols_per_range *= n;
        merged->ranges_per_row = 1;
    }
    return true;
}

/* The work of chunks [index, index + n). */
static lt_work chunks_work(const lt_stream_job *j, lt_unit *u, uint64_t index, uint64_t n) {
    bool is_merged = n > 1 && merge_chunks(&j->chunks, index, n, &u->merged);
    return (lt_work){
        .pass = &j->plan.pass,
        .ranges = is_merged ? &u->merged : &j->chunks,
        .first_range = is_merged ? 0 : index,
        .n_ranges = is_merged ? 1 : n,
        .on_this_thread = true,
    };
}

void lt_stream_prepare_chunk(lt_stream_job *j, lt_slot *slot, uint64_t index) {
    const lt_pass *pass = &j->plan.pass;
    const uint64_t n = units_at(j, index);
    const lt_range range = lt_ranges_at(&j->chunks, index);
    const lt_range last = lt_ranges_at(&j->chunks, index + n - 1);
    uint64_t elem = range.row * pass->dst.row_elems + range.col;
    uint64_t end = (last.row + last.n_rows - 1) * pass->dst.row_elems + last.col + last.n_cols;
    lt_unit *u = &slot->unit;
    *u = (lt_unit){.index = index, .n_pieces = 1};
    u->dst = lt_part_of(&pass->dst, elem, end - elem);
    if (!pass->own_scales) {
        u->dst.n_scales = 0;
    }
    const lt_part src = lt_part_of(&pass->src, elem, end - elem);
    const lt_slot_map map =
        lt_slot_map_of(&src, &u->dst, n > 1 ? both_in_memory : j->streamer->in_memory);
    u->pieces[0] =
        (lt_piece){.src = src, .scales_at = map.src_scales, .work = chunks_work(j, u, index, n)};
    u->scales_at = map.src_scales;
    u->src_end = map.src_end;
    u->dst_data_at = map.dst_data;
    u->dst_scales_at = map.dst_scales;
    u->dst_end = map.dst_end;
    lt_stream_choose_backend(j, slot);
}

/* ---- tiles */

/* A piece for tiles [tile, tile + n_tiles), which are one run of elements. */
static lt_piece tiles_piece(const lt_stream_job *j, uint64_t tile, uint64_t n_tiles) {
    const lt_pass *pass = &j->plan.pass;
    uint64_t elem;
    uint64_t n_first;
    uint64_t last_elem;
    uint64_t n_last;
    lt_tiling_tile(&pass->tiling, tile, &elem, &n_first);
    lt_tiling_tile(&pass->tiling, tile + n_tiles - 1, &last_elem, &n_last);
    return (lt_piece){
        .src = lt_part_of(&pass->src, elem, last_elem + n_last - elem),
        .work =
            {
                .pass = pass,
                .stats = j->scan == NULL ? j->stats + (tile - j->first_tile) : NULL,
                .scan = j->scan,
                .first_tile = tile,
                .n_tiles = n_tiles,
                .on_this_thread = true,
            },
    };
}

void lt_stream_prepare_tiles(lt_stream_job *j, lt_slot *slot, uint64_t index) {
    uint64_t first = index * j->tiles_per_unit;
    uint64_t n_tiles = lt_min(units_at(j, index) * j->tiles_per_unit, j->n_tiles - first);
    bool sampled = j->plan.pass.tiling.sampled;
    uint64_t per_piece = sampled ? 1 : n_tiles;
    uint64_t end = 0;
    lt_unit *u = &slot->unit;
    *u = (lt_unit){.index = index, .n_pieces = (uint32_t)(sampled ? n_tiles : 1)};
    for (uint32_t i = 0; i < u->n_pieces; i++) {
        u->pieces[i] = tiles_piece(j, j->first_tile + first + i, per_piece);
        u->pieces[i].data_at = end;
        end += j->src_memory.host != NULL ? 0 : u->pieces[i].src.n_bytes;
        end = lt_slot_aligned(end);
    }
    u->scales_at = end;
    for (uint32_t i = 0; i < u->n_pieces; i++) {
        u->pieces[i].scales_at = end;
        end = lt_slot_aligned(end + u->pieces[i].src.n_scales * sizeof(float));
    }
    u->src_end = end;
    lt_stream_choose_backend(j, slot);
}

/* ---- copies: the host's business, in the slot's memory without its device; or through none */

uint64_t lt_stream_copy_chunk(const lt_streamer *streamer) {
    uint64_t good =
        streamer->good_bytes != 0 ? streamer->good_bytes : streamer->backend->chunk_bytes;
    uint64_t chunk = streamer->chunk_bytes != 0 ? streamer->chunk_bytes : good;
    return streamer->in_memory.has_source ? chunk : lt_min(streamer->slot_bytes, chunk);
}

void lt_stream_prepare_copy(lt_stream_job *j, lt_slot *slot, uint64_t index) {
    uint64_t chunk = lt_stream_copy_chunk(j->streamer);
    uint64_t offset = index * chunk;
    lt_unit *u = &slot->unit;
    *u = (lt_unit){.index = index, .n_pieces = 1, .backend = j->streamer->engine->cpu};
    lt_outcome_init(&u->outcome);
    u->dst = (lt_part){.first_byte = offset,
                       .n_bytes = lt_min(units_at(j, index) * chunk, j->copy_bytes - offset)};
    u->pieces[0].src = u->dst;
    u->src_end = u->dst_end = j->src_memory.host != NULL ? 0 : u->dst.n_bytes;
}
