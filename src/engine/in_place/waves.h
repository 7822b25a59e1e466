/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which a tensor is converted in its own buffer: waves of ranges, each of which writes
 * only where nothing is left to be read. */
#ifndef LT_ENGINE_WAVES_H
#define LT_ENGINE_WAVES_H

#include "core/ranges.h"

/* With S and D the offsets of an element in the source's and in the target's layout, both growing:
 * going forward, elements [a, b) may be converted at once, in any order, if D(b) <= S(a), since the
 * source's bytes before S(a) are no longer needed. Where the target has half of the source's width
 * that is b = 2a, so waves double. Going backward it is D(a) >= S(b). What cannot be done so, such
 * as the first elements, is bounced: converted into a buffer of its own, then copied to its place.
 */
typedef struct lt_wave {
    lt_ranges ranges; /* all of them */
    bool is_bounced;  /* each of the ranges by itself, at most piece_elems elements */
} lt_wave;

typedef struct lt_waves {
    const lt_layout *src;
    const lt_layout *dst;
    uint64_t piece_elems;     /* a multiple of LT_WAVE_QUANTUM */
    uint64_t elems_per_range; /* a good size, at most */
    uint32_t ranges_per_wave; /* at least, as far as ranges are then worth a thread */
    bool bounces_many;        /* in one wave, where they do not depend on each other */
    bool are_independent;     /* every element is written where it was read */
    bool is_backward;
    uint64_t row; /* forward: where the next wave begins; backward: where it ends */
    uint64_t col;
} lt_waves;

/* Inside a row, waves and ranges begin at multiples of this many elements: whole bytes of every
 * dtype, and 16 of them. */
enum { LT_WAVE_QUANTUM = 640 };

/* The waves from the beginning. The other arguments are fields of the struct, which says what they
 * mean; the layouts, of as many elements, which are not 0, must outlive it. */
lt_waves lt_waves_make(const lt_layout *src, const lt_layout *dst, uint64_t piece_elems,
                       uint64_t elems_per_range, uint32_t ranges_per_wave, bool bounces_many);

/* Gives the next wave. False if there is none, or if the layouts' rows lie so that none is safe. */
bool lt_waves_next(lt_waves *waves, lt_wave *wave);

/* Gives all that is left, or the first of it, in one range of at most max_elems elements, which is
 * no safe wave: for those who see to the order inside it. False if there is nothing left, or if the
 * waves go backward. */
bool lt_waves_next_whole(lt_waves *waves, uint64_t max_elems, lt_wave *wave);

/* True when all elements are converted. */
bool lt_waves_are_done(const lt_waves *waves);

/* True if lt_waves_next leads to the end. */
bool lt_waves_can_finish(lt_waves waves);

/* Bytes [*first, *first + *n_bytes) of the layout that a range takes. */
void lt_range_bytes(const lt_layout *layout, const lt_range *range, uint64_t *first,
                    uint64_t *n_bytes);

/* Bytes [*first, *end) that a range of a wave reads, and those that it writes: the two layouts may
 * have different rows. */
void lt_waves_bytes_read(const lt_waves *waves, const lt_range *range, uint64_t *first,
                         uint64_t *end);
void lt_waves_bytes_written(const lt_waves *waves, const lt_range *range, uint64_t *first,
                            uint64_t *end);

/* All of a layout, which has elements, in ranges of at most piece_elems. */
lt_ranges lt_pieces_of(const lt_layout *layout, uint64_t piece_elems);

#endif
