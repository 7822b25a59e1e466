/* SPDX-License-Identifier: Apache-2.0 */
/* From codes a byte each to base-3 bytes, by way of planes of bits, with VBMI.
 *
 * Parameters: as trit_planes_vbmi.h, which the including file has included. */
#ifndef LT_CPU_X86_CODE_PLANES_VBMI_H
#define LT_CPU_X86_CODE_PLANES_VBMI_H

#include "cpu/x86/code_map.h"

LT_INLINE void codes_block(const uint8_t *src, block_rules rules, bool any, uint8_t *used,
                           uint8_t *negative) {
    const vi codes = v_load(src);
    uint32_t bound[2];
    memcpy(bound, rules.of, sizeof bound);
    const vi bounds =
        _mm512_inserti64x4(_mm512_set1_epi8((char)bound[0]), _mm256_set1_epi8((char)bound[1]), 1);
    (void)any;
    store_bits(used, _mm512_cmpgt_epu8_mask(v_abs_bytes(codes), bounds));
    store_bits(negative, _mm512_movepi8_mask(codes));
}

bool LT_NAME_PLAIN(i8_to_ternary)(const void *codes, void *dst, size_t n_elems,
                                  const lt_recode *how) {
    enum { PART = 32 * LATHE_BITNET158_PER_BYTE }; /* groups: whole bytes */
    const trit_source from = {.block = codes_block, .elem_bytes = 1, .order = plane_in_order};
    const size_t group_elems = how->group_elems;
    const uint8_t *src = codes;
    uint8_t *out = dst;
    if (!has_bounds(how, (n_elems + group_elems - 1) / group_elems))
        return false;
    for (size_t group = 0; n_elems > 0; group += PART) {
        union {
            uint32_t bounds[PART + V_FLOATS];
            float as_rules[PART + V_FLOATS];
        } rules;
        const size_t n_groups = (n_elems + group_elems - 1) / group_elems;
        const size_t n_part = n_groups > PART ? PART * group_elems : n_elems;
        find_bounds(how, group, n_groups < PART ? n_groups : PART, rules.bounds);
        encode_by_planes(from, false, (fetch){.which = FETCH_NONE}, NULL, src, out, n_part,
                         group_elems < n_part ? group_elems : n_part, rules.as_rules);
        src += n_part;
        out += n_part / LATHE_BITNET158_PER_BYTE;
        n_elems -= n_part;
    }
    return true;
}

#endif
