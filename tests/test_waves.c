/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the waves in which tensors are converted in place. */
#include "convert_case.h"
#include "core/layout.h"
#include "engine/in_place/waves.h"

/* No wave writes what it or a later one reads, and every element is converted once. */
static void check_waves(const lathe_tensor_desc *from, const lathe_tensor_desc *to,
                        uint64_t piece_elems) {
    lt_layout src;
    lt_layout dst;
    lt_wave wave;
    uint64_t done = 0;
    CHECK_OK(lt_layout_of(from, &src));
    CHECK_OK(lt_layout_of(to, &dst));
    if (dst.n_elems == 0) {
        return;
    }
    lt_waves waves = lt_waves_make(&src, &dst, piece_elems, 1 << 18, 3, true);
    CHECK(lt_waves_can_finish(waves), "stuck");
    uint64_t read_end = src.n_bytes; /* backward: all bytes before it are still to be read */
    uint64_t read_begin = 0;         /* forward: likewise, from here on */
    while (lt_waves_next(&waves, &wave)) {
        uint64_t first_read = UINT64_MAX;
        uint64_t last_read = 0;
        uint64_t first_write = UINT64_MAX;
        uint64_t last_write = 0;
        for (uint64_t i = 0; i < wave.ranges.n_ranges; i++) {
            lt_range range = lt_ranges_at(&wave.ranges, i);
            uint64_t at;
            uint64_t n;
            CHECK(!wave.is_bounced || range.n_rows * range.n_cols <= piece_elems, "a large piece");
            lt_range_bytes(&src, &range, &at, &n);
            first_read = at < first_read ? at : first_read;
            last_read = at + n > last_read ? at + n : last_read;
            lt_range_bytes(&dst, &range, &at, &n);
            first_write = at < first_write ? at : first_write;
            last_write = at + n > last_write ? at + n : last_write;
            done += range.n_rows * range.n_cols;
        }
        if (waves.are_independent) {
            continue;
        }
        if (waves.is_backward) {
            CHECK(last_read == read_end, "a gap");
            read_end = first_read;
            CHECK(first_write >= (wave.is_bounced ? first_read : last_read), "overlap");
        } else {
            CHECK(first_read == read_begin, "a gap");
            read_begin = last_read;
            CHECK(last_write <= (wave.is_bounced ? last_read : first_read), "overlap");
        }
    }
    CHECK(done == dst.n_elems && lt_waves_are_done(&waves), "%d of %d elements", (int)done,
          (int)dst.n_elems);
}

/* What is left of waves in ranges for those who see to the order: all elements, one after another.
 */
static void check_whole(const lathe_tensor_desc *from, const lathe_tensor_desc *to,
                        uint64_t max_elems) {
    lt_layout src;
    lt_layout dst;
    lt_wave wave;
    CHECK_OK(lt_layout_of(from, &src));
    CHECK_OK(lt_layout_of(to, &dst));
    if (dst.n_elems == 0) {
        return;
    }
    lt_waves waves = lt_waves_make(&src, &dst, 2560, 1 << 18, 3, true);
    uint64_t next = 0;
    while (lt_waves_next_whole(&waves, max_elems, &wave)) {
        CHECK(wave.ranges.n_ranges == 1 && !wave.is_bounced, "%d ranges",
              (int)wave.ranges.n_ranges);
        lt_range range = lt_ranges_at(&wave.ranges, 0);
        CHECK(range.row * dst.row_elems + range.col == next && range.col % LT_WAVE_QUANTUM == 0,
              "element %d", (int)next);
        CHECK(range.n_rows * range.n_cols <= max_elems, "a large range");
        next += range.n_rows * range.n_cols;
    }
    CHECK(next == (waves.is_backward ? 0 : dst.n_elems), "%d elements", (int)next);
}

/* Around the pieces of the CPU, rows that cross them, and what takes many waves. */
static const shape_option shapes[] = {
    {1, {1}},          {1, {5}},         {1, {2559}},    {1, {2560}},    {1, {2561}},
    {1, {10239}},      {1, {20481}},     {1, {40961}},   {1, {3000000}}, {2, {3, 100}},
    {2, {300, 33}},    {2, {5, 5121}},   {2, {4000, 1}}, {2, {17, 640}}, {2, {3, 1000001}},
    {2, {100000, 31}}, {3, {9, 31, 33}}, {2, {0, 5}},    {2, {3, 0}},    {0, {0}},
};

Test(waves, are_safe) {
    for (int from = LATHE_F32; from <= LATHE_BITNET158; from++) {
        for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
                lathe_tensor_desc source =
                    desc_of((lathe_dtype)from, &shapes[s], &layout_options[1], 0);
                lathe_tensor_desc target =
                    desc_of((lathe_dtype)to, &shapes[s], &layout_options[2], 0);
                check_waves(&source, &target, 2560);
                check_waves(&source, &target, 20480);
                check_whole(&source, &target, 1000);
                check_whole(&source, &target, 1 << 20);
            }
        }
    }
}
