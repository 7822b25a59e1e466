/* SPDX-License-Identifier: Apache-2.0 */
/* The element types of safetensors. */
#include "formats/safetensors.h"

#include <string.h>

/* The usual ones first: a file's header may name a hundred thousand. */
static const lt_st_type types[] = {
    {"F32", 32, LATHE_F32}, {"BF16", 16, LATHE_BF16},
    {"F16", 16, LATHE_F16}, {"U8", 8, 0},
    {"I8", 8, 0},           {"BOOL", 8, 0},
    {"I64", 64, 0},         {"I32", 32, 0},
    {"F8_E4M3", 8, 0},      {"F8_E5M2", 8, 0},
    {"F8_E8M0", 8, 0},      {"F8_E4M3FNUZ", 8, 0},
    {"F8_E5M2FNUZ", 8, 0},  {"F4", 4, 0},
    {"F6_E2M3", 6, 0},      {"F6_E3M2", 6, 0},
    {"I16", 16, 0},         {"U16", 16, 0},
    {"U32", 32, 0},         {"C64", 64, 0},
    {"F64", 64, 0},         {"U64", 64, 0},
};

enum { N_TYPES = sizeof types / sizeof types[0] };

const lt_st_type *lt_st_type_named(const char *name) {
    for (size_t i = 0; i < N_TYPES; i++) {
        if (strcmp(types[i].name, name) == 0) {
            return &types[i];
        }
    }
    return NULL;
}

uint32_t lt_st_type_width(const lt_st_type *type) {
    return type->bits < 8 ? 1 : type->bits / 8;
}

const lt_st_type *lt_st_type_of(lathe_dtype dtype) {
    for (size_t i = 0; i < N_TYPES; i++) {
        if (types[i].dtype == dtype && types[i].dtype != 0) {
            return &types[i];
        }
    }
    return NULL;
}

uint8_t lt_st_type_index(const lt_st_type *type) {
    return (uint8_t)(type - types);
}

const lt_st_type *lt_st_type_at(uint8_t index) {
    return &types[index];
}

const lt_st_type *lt_st_tensor_type(const lt_st_tensor *tensor) {
    return &types[tensor->type];
}

bool lt_st_is_own_key(const char *key) {
    return strcmp(key, LT_ST_FORMAT_KEY) == 0 ||
           strncmp(key, LT_ST_TENSOR_KEY, strlen(LT_ST_TENSOR_KEY)) == 0;
}
