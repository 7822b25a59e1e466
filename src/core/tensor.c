/* SPDX-License-Identifier: Apache-2.0 */
/* Queries of a tensor, and validation of its contents. */
#include "core/tensor.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include <float.h>
#include <inttypes.h>
#include <lathe/pipeline.h>

#include <string.h>

lathe_dtype lathe_tensor_dtype(const lathe_tensor *tensor) {
    return tensor->layout.dtype;
}

uint32_t lathe_tensor_n_dims(const lathe_tensor *tensor) {
    return tensor->n_dims;
}

const uint64_t *lathe_tensor_shape(const lathe_tensor *tensor) {
    return tensor->shape;
}

lathe_granularity lathe_tensor_granularity(const lathe_tensor *tensor) {
    return tensor->granularity;
}

uint64_t lathe_tensor_group_size(const lathe_tensor *tensor) {
    return tensor->group_size;
}

uint32_t lathe_tensor_row_dims(const lathe_tensor *tensor) {
    return tensor->row_dims;
}

lathe_memory lathe_tensor_memory(const lathe_tensor *tensor) {
    return tensor->memory;
}

uint64_t lathe_tensor_n_elems(const lathe_tensor *tensor) {
    return tensor->layout.n_elems;
}

uint64_t lathe_tensor_n_bytes(const lathe_tensor *tensor) {
    return tensor->layout.n_bytes;
}

uint64_t lathe_tensor_n_scales(const lathe_tensor *tensor) {
    return tensor->layout.n_scales;
}

bool lathe_tensor_is_read_only(const lathe_tensor *tensor) {
    return tensor->read_only;
}

const void *lathe_tensor_data(const lathe_tensor *tensor) {
    return tensor->layout.n_bytes == 0 ? NULL : tensor->data;
}

/* The counter is not part of what const promises to leave alone. */
static atomic_uint_fast64_t *version_of(const lathe_tensor *tensor) {
    const lathe_tensor *owner = tensor->root != NULL ? tensor->root : tensor;
    return (atomic_uint_fast64_t *)(uintptr_t)&owner->version;
}

void lt_tensor_touch(const lathe_tensor *tensor) {
    (void)atomic_fetch_add_explicit(version_of(tensor), 1, memory_order_relaxed);
}

uint64_t lt_tensor_version(const lathe_tensor *tensor) {
    return atomic_load_explicit(version_of(tensor), memory_order_relaxed);
}

void lathe_tensor_touch(lathe_tensor *tensor) {
    if (tensor != NULL) {
        lt_tensor_touch(tensor);
    }
}

void *lathe_tensor_mutable_data(lathe_tensor *tensor) {
    lt_tensor_touch(tensor);
    bool hidden = tensor->read_only || tensor->mapped_read_only || tensor->layout.n_bytes == 0;
    return hidden ? NULL : tensor->data;
}

const float *lathe_tensor_scales(const lathe_tensor *tensor) {
    return tensor->layout.n_scales == 0 ? NULL : tensor->scales;
}

float *lathe_tensor_mutable_scales(lathe_tensor *tensor) {
    lt_tensor_touch(tensor);
    bool hidden = tensor->read_only || tensor->mapped_read_only || tensor->layout.n_scales == 0;
    return hidden ? NULL : tensor->scales;
}

bool lt_tensor_is(const lathe_tensor *tensor, const lathe_tensor_desc *desc,
                  const lt_layout *layout) {
    uint32_t row_dims = desc->row_dims == 0 ? 1 : desc->row_dims;
    return lt_layout_equal(&tensor->layout, layout) && tensor->row_dims == row_dims &&
           tensor->granularity == desc->granularity && tensor->group_size == desc->group_size;
}

lathe_tensor_desc lt_tensor_desc_of(const lathe_tensor *tensor) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc),
        .dtype = tensor->layout.dtype,
        .n_dims = tensor->n_dims,
        .shape = tensor->shape,
        .granularity = tensor->granularity,
        .group_size = tensor->group_size,
        .row_dims = tensor->row_dims,
    };
}

/* Eight bytes at a time. A byte is `limit` (128 or more) or greater exactly if its top bit is set
 * and adding 256 - limit to its other seven bits carries into the top one. */
static bool has_byte_from(const uint8_t *bytes, uint8_t limit) {
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    uint64_t carried = (word & 0x7f * each) + (256U - limit) * each;
    return (word & carried & 0x80 * each) != 0;
}

enum { VALID_BLOCK = 64, LONG_BLOCK = 8 * VALID_BLOCK };

/* The greatest of one or more blocks of VALID_BLOCK bytes: loops that compilers turn into vector
 * instructions. */
static uint8_t greatest_byte(const uint8_t *bytes, size_t n_bytes) {
    uint8_t most[VALID_BLOCK] = {0};
    uint8_t greatest = 0;
    for (size_t block = 0; block < n_bytes; block += VALID_BLOCK) {
        for (size_t i = 0; i < VALID_BLOCK; i++) {
            const uint8_t byte = bytes[block + i];
            most[i] = byte > most[i] ? byte : most[i];
        }
    }
    for (size_t i = 0; i < VALID_BLOCK; i++) {
        greatest = most[i] > greatest ? most[i] : greatest;
    }
    return greatest;
}

size_t lt_first_invalid_byte(lathe_dtype dtype, const uint8_t *bytes, size_t n_bytes) {
    uint8_t limit = lt_dtype_traits_of(dtype)->byte_values;
    if (limit == 0) {
        return n_bytes;
    }
    size_t i = 0;
    while (n_bytes - i >= LONG_BLOCK && greatest_byte(bytes + i, LONG_BLOCK) < limit) {
        i += LONG_BLOCK;
    }
    while (n_bytes - i >= VALID_BLOCK && greatest_byte(bytes + i, VALID_BLOCK) < limit) {
        i += VALID_BLOCK;
    }
    while (n_bytes - i >= sizeof(uint64_t) && !has_byte_from(bytes + i, limit)) {
        i += sizeof(uint64_t);
    }
    while (i < n_bytes && bytes[i] < limit) {
        i++;
    }
    return i;
}

static lathe_status corrupt_element(const lathe_tensor *tensor, uint64_t row, uint64_t col,
                                    const char *what) {
    uint64_t element = row * tensor->layout.row_elems + col;
    lathe_status status = lt_fail(LATHE_CORRUPT_DATA, "element %" PRIu64 " of a %s tensor: %s",
                                  element, lathe_dtype_name(tensor->layout.dtype), what);
    lt_error()->element = element;
    lt_error()->from = tensor->layout.dtype;
    lt_error()->stage = "validate";
    return status;
}

/* True if the unused part of a row's last byte, which holds `used` elements, is as encoders leave
 * it. */
static bool padding_is_valid(lathe_dtype dtype, uint8_t byte, uint64_t used) {
    if (dtype != LATHE_BITNET158) {
        uint64_t bits = used * (8U / lt_dtype_traits_of(dtype)->unit_elems);
        return byte >> bits == 0;
    }
    unsigned rest = byte;
    for (uint64_t digit = 0; digit < lt_dtype_traits_of(dtype)->unit_elems; digit++, rest /= 3) {
        if (digit >= used && rest % 3 != 1) {
            return false;
        }
    }
    return true;
}

static lathe_status validate_row(const lathe_tensor *tensor, uint64_t row) {
    const lt_layout *layout = &tensor->layout;
    const uint8_t *bytes = (const uint8_t *)tensor->data + row * layout->row_bytes;
    uint64_t unit = layout->unit_elems;
    size_t bad = lt_first_invalid_byte(layout->dtype, bytes, (size_t)layout->row_bytes);
    if (bad < layout->row_bytes) {
        return corrupt_element(tensor, row, bad * unit,
                               "its byte has a value that no encoder emits");
    }
    uint64_t used = layout->row_elems % unit;
    if (used != 0 && !padding_is_valid(layout->dtype, bytes[layout->row_bytes - 1], used)) {
        return corrupt_element(tensor, row, layout->row_elems - 1,
                               "the unused bits after it are not zero");
    }
    return LATHE_OK;
}

lathe_status lt_scales_check(const float *scales, uint64_t n_scales, uint64_t first) {
    for (uint64_t i = 0; i < n_scales; i++) {
        if (!(scales[i] >= 0 && scales[i] <= FLT_MAX)) {
            return lt_fail(LATHE_CORRUPT_DATA, "scale %" PRIu64 " is negative or not finite",
                           first + i);
        }
    }
    return LATHE_OK;
}

lathe_status lathe_tensor_validate(const lathe_tensor *tensor) {
    if (tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "tensor is NULL");
    }
    if (!lathe_dtype_is_quantized(tensor->layout.dtype)) {
        return LATHE_OK;
    }
    if (tensor->memory == LATHE_MEMORY_DEVICE && tensor->data == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "a device tensor that is not mapped");
    }
    lathe_status status = lt_scales_check(tensor->scales, tensor->layout.n_scales, 0);
    if (status != LATHE_OK) {
        return status;
    }
    for (uint64_t row = 0; tensor->layout.n_bytes > 0 && row < tensor->layout.n_rows; row++) {
        status = validate_row(tensor, row);
        if (status != LATHE_OK) {
            return status;
        }
    }
    return LATHE_OK;
}
