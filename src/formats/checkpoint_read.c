/* SPDX-License-Identifier: Apache-2.0 */
/* Reads tensor data from an open checkpoint. */
#include "formats/checkpoint.h"

#include "core/checked.h"
#include "core/error.h"
#include "files/file_io.h"
#include <inttypes.h>
#include <math.h>

lathe_status lt_checkpoint_desc(const lt_checkpoint_tensor *tensor, lathe_tensor_desc *desc) {
    const lathe_checkpoint_tensor *info = &tensor->info;
    if (info->dtype == 0) {
        return info->n_dims > LATHE_MAX_DIMS
                   ? lt_fail(LATHE_NOT_SUPPORTED,
                             "Lathe does not convert tensors of %" PRIu32 " dimensions",
                             info->n_dims)
                   : lt_fail(LATHE_NOT_SUPPORTED, "Lathe does not convert %s", info->stored_type);
    }
    *desc = (lathe_tensor_desc){.struct_size = sizeof *desc,
                                .dtype = info->dtype,
                                .n_dims = info->n_dims,
                                .shape = info->shape,
                                .granularity = info->granularity,
                                .group_size = info->group_size,
                                .row_dims = info->row_dims};
    return LATHE_OK;
}

lathe_status lt_checkpoint_prefix(const lt_checkpoint_tensor *tensor) {
    return lt_fail_prefix("%s: tensor \"%s\"", lt_path_text(tensor->info.file).text,
                          lt_name_text(tensor->info.name).text);
}

lathe_status lt_checkpoint_read_at(const lathe_checkpoint *checkpoint, uint32_t file, uint64_t at,
                                   void *buffer, size_t n_bytes) {
    lt_input_file *input = &checkpoint->files[file].input;
    return checkpoint->is_read_through
               ? lt_input_read_in_turn(checkpoint->set, input, at, buffer, n_bytes)
               : lt_input_read(checkpoint->set, input, at, buffer, n_bytes);
}

static lathe_status check_range(uint64_t first, uint64_t n_items, uint64_t available,
                                const void *buffer, const char *what) {
    if (first > available || n_items > available - first || (buffer == NULL && n_items > 0)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "%" PRIu64 " %s at %" PRIu64 " are not among its %" PRIu64, n_items, what,
                       first, available);
    }
    return LATHE_OK;
}

lathe_status lt_checkpoint_read_data(const lathe_checkpoint *checkpoint,
                                     const lt_checkpoint_tensor *tensor, uint64_t offset,
                                     void *buffer, size_t n_bytes) {
    lathe_status status = check_range(offset, n_bytes, tensor->info.n_bytes, buffer, "bytes");
    return status != LATHE_OK ? status
                              : lt_checkpoint_read_at(checkpoint, tensor->file,
                                                      tensor->data_at + offset, buffer, n_bytes);
}

lathe_status lt_checkpoint_read_scales(const lathe_checkpoint *checkpoint,
                                       const lt_checkpoint_tensor *tensor, uint64_t first,
                                       float *scales, size_t n_scales) {
    lathe_status status = check_range(first, n_scales, tensor->info.n_scales, scales, "scales");
    if (status == LATHE_OK) {
        status = lt_checkpoint_read_at(checkpoint, tensor->file,
                                       tensor->scales_at + first * sizeof *scales, scales,
                                       n_scales * sizeof *scales);
    }
    for (size_t k = 0; k < n_scales && status == LATHE_OK; k++) {
        if (!isfinite(scales[k]) || scales[k] < 0) {
            status = lt_fail(LATHE_CORRUPT_DATA, "scale %" PRIu64 " is %g: negative or not finite",
                             first + k, (double)scales[k]);
        }
    }
    return status;
}

static lathe_status check_tensor(const lathe_checkpoint *checkpoint, size_t i) {
    return i < lathe_checkpoint_n_tensors(checkpoint)
               ? LATHE_OK
               : lt_fail(LATHE_INVALID_ARGUMENT, "there is no tensor %zu", i);
}

lathe_status lathe_checkpoint_read(const lathe_checkpoint *checkpoint, size_t i, uint64_t offset,
                                   void *buffer, size_t n_bytes) {
    lathe_status status = check_tensor(checkpoint, i);
    if (status == LATHE_OK && lt_checkpoint_read_data(checkpoint, &checkpoint->tensors[i], offset,
                                                      buffer, n_bytes) != LATHE_OK) {
        status = lt_checkpoint_prefix(&checkpoint->tensors[i]);
    }
    return status;
}

lathe_status lathe_checkpoint_read_scales(const lathe_checkpoint *checkpoint, size_t i,
                                          uint64_t first, float *scales, size_t n_scales) {
    lathe_status status = check_tensor(checkpoint, i);
    if (status == LATHE_OK && lt_checkpoint_read_scales(checkpoint, &checkpoint->tensors[i], first,
                                                        scales, n_scales) != LATHE_OK) {
        status = lt_checkpoint_prefix(&checkpoint->tensors[i]);
    }
    return status;
}

lathe_status lathe_checkpoint_load(const lathe_checkpoint *checkpoint, size_t i, lathe_pool *pool,
                                   lathe_tensor **tensor) {
    lathe_tensor_desc desc;
    lathe_tensor *made = NULL;
    if (i >= lathe_checkpoint_n_tensors(checkpoint) || pool == NULL || tensor == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or tensor is NULL, or there is no tensor %zu",
                       i);
    }
    const lt_checkpoint_tensor *stored = &checkpoint->tensors[i];
    lathe_status status = lt_checkpoint_desc(stored, &desc);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(pool, &desc, &made);
    }
    if (status != LATHE_OK) {
        return lt_checkpoint_prefix(stored);
    }
    status = lt_checkpoint_read_data(checkpoint, stored, 0, lathe_tensor_mutable_data(made),
                                     (size_t)stored->info.n_bytes);
    if (status == LATHE_OK) {
        status = lt_checkpoint_read_scales(checkpoint, stored, 0, lathe_tensor_mutable_scales(made),
                                           (size_t)stored->info.n_scales);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_validate(made);
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return lt_checkpoint_prefix(stored);
    }
    *tensor = made;
    return LATHE_OK;
}
