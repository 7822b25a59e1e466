/* SPDX-License-Identifier: Apache-2.0 */
/* Malformed safetensors files: each gives the expected status and one line that names what is wrong
 * and where, and none makes the library allocate much. The files can be kept for other readers by
 * setting LATHE_KEEP_FILES to a folder. */
#include "checkpoint_files.h"

#include <stdatomic.h>

#define MALFORMED LATHE_MALFORMED_FILE

typedef struct test_case {
    const char *name;
    lathe_status status;
    const char *fragment; /* of the message */
    const char *header;
    size_t data_bytes;
    uint64_t claimed;    /* header length to write, if not the real one */
    size_t header_bytes; /* if the header holds a NUL */
} test_case;

#define F32_8 ENTRY("a", "F32", "2", 0, 8)
#define WITH_METADATA(text) "{\"__metadata__\":" text "," F32_8 "}"
#define TENSOR(text) "{\"a\":" text "}"
#define HAS_NUL(text) text, .header_bytes = sizeof(text) - 1

/* A quantized tensor "q" (I4, [2,5], per row) as Lathe writes it, with one part replaced at a time.
 */
#define Q_TEXT                                                                                     \
    "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[2,5],\\\"granularity\\\":\\\"row\\\",\\\"row_"       \
    "dims\\\":1}"
#define Q_DATA ENTRY("q", "U8", "2,3", 8, 14)
#define Q_SCALE ENTRY("q_scale", "F32", "2,1", 0, 8)
#define QUANTIZED(format, text, data, scale)                                                       \
    "{\"__metadata__\":{" format "\"lathe.tensor.q\":\"" text "\"}," scale "," data "}"
#define Q_FORMAT "\"lathe.format\":\"1\","

static const test_case cases[] = {
    /* The length of the header. */
    {"length_over_limit", MALFORMED, "100000001 is over the limit", "{}", .data_bytes = 0,
     .claimed = 100000001},
    {"length_2_64", MALFORMED, "18446744073709551615", "{}", .data_bytes = 0,
     .claimed = UINT64_MAX},
    {"length_2_63", MALFORMED, "9223372036854775808", "{}", .data_bytes = 0,
     .claimed = UINT64_C(1) << 63},
    {"length_past_end", MALFORMED, "length 3 is past the end", "{}", .data_bytes = 0, .claimed = 3},
    {"length_at_limit", MALFORMED, "length 100000000 is past the end", "{}", 0,
     .claimed = 100000000},
    {"length_short", MALFORMED, "", "{\"a\":{}}", .data_bytes = 0, .claimed = 4},
    {"length_zero", MALFORMED, "does not begin with '{'", "", .data_bytes = 0},
    /* An entry that begins as the one before. */
    {"alike_offsets_open", MALFORMED, "",
     "{" F32_8 ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8", .data_bytes = 16},
    {"alike_no_offsets", MALFORMED, "tensor \"b\": data_offsets has 0 numbers",
     "{" F32_8 ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[]}}", .data_bytes = 16},
    {"alike_wrong_size", MALFORMED, "tensor \"b\": its shape makes 8 bytes",
     "{" F32_8 "," ENTRY("b", "F32", "2", 8, 15) "}", .data_bytes = 15},
    /* JSON. */
    {"only_spaces", MALFORMED, "does not begin with '{'", "        ", .data_bytes = 0},
    {"array", MALFORMED, "does not begin with '{'", "[]", .data_bytes = 0},
    {"string", MALFORMED, "does not begin with '{'", "\"a\"", .data_bytes = 0},
    {"number", MALFORMED, "at byte 0", "17", .data_bytes = 0},
    {"null", MALFORMED, "does not begin with '{'", "null", .data_bytes = 0},
    {"open_brace", MALFORMED, "it ends early", "{", .data_bytes = 0},
    {"open_name", MALFORMED, "a string does not end", "{\"a", .data_bytes = 0},
    {"open_escape", MALFORMED, "a string does not end", "{\"a\\", .data_bytes = 0},
    {"no_colon", MALFORMED, "it ends early", "{\"a\"", .data_bytes = 0},
    {"comma_for_colon", MALFORMED, "expected ':'", "{\"a\",1}", .data_bytes = 0},
    {"no_value", MALFORMED, "not valid JSON at byte 5", "{\"a\":", .data_bytes = 0},
    {"empty_value", MALFORMED, "not valid JSON at byte", "{\"a\":}", .data_bytes = 0},
    {"comma_value", MALFORMED, "not valid JSON at byte", "{\"a\":,}", .data_bytes = 0},
    {"open_value", MALFORMED, "ends inside a value", "{\"a\":{\"dtype\":", .data_bytes = 0},
    {"trailing_comma", MALFORMED, "expected a name", "{" F32_8 ",}", .data_bytes = 8},
    {"missing_comma", MALFORMED, "expected ',' or '}'", "{" F32_8 ENTRY("b", "F32", "0", 8, 8) "}",
     .data_bytes = 8},
    {"leading_comma", MALFORMED, "expected a name", "{," F32_8 "}", .data_bytes = 8},
    {"number_name", MALFORMED, "expected a name", "{1:{}}", .data_bytes = 0},
    {"bare_name", MALFORMED, "expected a name", "{a:{}}", .data_bytes = 0},
    {"single_quotes", MALFORMED, "expected a name", "{'a':{}}", .data_bytes = 0},
    {"comment", MALFORMED, "at byte 1", "{/* */}", .data_bytes = 0},
    {"after_object", MALFORMED, "other than white space follows", "{} x", .data_bytes = 0},
    {"two_objects", MALFORMED, "other than white space follows", "{}{}", .data_bytes = 0},
    {"extra_brace", MALFORMED, "other than white space follows", "{}}", .data_bytes = 0},
    {"nul_padding", MALFORMED, "at byte 2: a byte is NUL", HAS_NUL("{}\0\0")},
    {"nul_after_number", MALFORMED, "a byte is NUL",
     HAS_NUL("{\"a\":{\"dtype\":\"F32\",\"shape\":[2\0],\"data_offsets\":[0,8]}}"),
     .data_bytes = 8},
    {"vertical_tab", MALFORMED, "other than white space follows", "{}\v", .data_bytes = 0},
    {"byte_order_mark", MALFORMED, "at byte 0", "\xef\xbb\xbf{}", .data_bytes = 0},
    {"mismatched_brackets", MALFORMED, "not valid JSON",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[2},\"data_offsets\":[0,8]]"), .data_bytes = 8},
    {"two_values", MALFORMED, "not valid JSON", "{" F32_8 "\"b\"}", .data_bytes = 8},
    {"literal", MALFORMED, "tensor \"a\"", "{\"a\":nul}", .data_bytes = 0},
    {"leading_zero", MALFORMED, "tensor \"a\"",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"plus_sign", MALFORMED, "tensor \"a\"",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[+2],\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"hex_number", MALFORMED, "tensor \"a\"",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[0x2],\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"nan_number", MALFORMED, "tensor \"a\"",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[NaN],\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"raw_newline", MALFORMED, "not valid JSON at byte", "{\"a\nb\":{}}", .data_bytes = 0},
    {"raw_nul", MALFORMED, "at byte 3: a byte is NUL", HAS_NUL("{\"a\0b\":{}}")},
    {"bad_escape", MALFORMED, "not valid JSON at byte", "{\"a\\x\":{}}", .data_bytes = 0},
    {"lone_surrogate", MALFORMED, "not valid JSON at byte", "{\"\\ud800\":{}}", .data_bytes = 0},
    {"short_unicode", MALFORMED, "not valid JSON at byte", "{\"\\u12\":{}}", .data_bytes = 0},
    /* UTF-8. */
    {"utf8_invalid_byte", MALFORMED, "not valid UTF-8 near byte", "{\"\xff\":{}}", .data_bytes = 0},
    {"utf8_truncated", MALFORMED, "not valid UTF-8 near byte", "{\"\xe2\x82\":{}}",
     .data_bytes = 0},
    {"utf8_overlong", MALFORMED, "not valid UTF-8 near byte", "{\"\xc0\xaf\":{}}", .data_bytes = 0},
    {"utf8_surrogate", MALFORMED, "not valid UTF-8 near byte", "{\"\xed\xa0\x80\":{}}",
     .data_bytes = 0},
    {"utf8_too_large", MALFORMED, "not valid UTF-8 near byte", "{\"\xf5\x80\x80\x80\":{}}",
     .data_bytes = 0},
    {"utf8_in_metadata", MALFORMED, "\"k\"", WITH_METADATA("{\"k\":\"\xfe\"}"), .data_bytes = 8},
    {"utf8_in_entry", MALFORMED, "tensor \"a\"", "{\"a\":{\"dtype\":\"\x80\"}}", .data_bytes = 0},
    {"utf8_outside_strings", MALFORMED, "at byte", "{\xc3\xa9}", .data_bytes = 0},
    /* Entries. */
    {"name_twice", MALFORMED, "tensor \"a\": the header has this name twice",
     "{" F32_8 "," F32_8 "}", .data_bytes = 8},
    {"name_twice_escaped", MALFORMED, "tensor \"a\": the header has this name twice",
     "{" F32_8 "," ENTRY("\\u0061", "F32", "0", 8, 8) "}", .data_bytes = 8},
    {"entry_number", MALFORMED, "tensor \"a\": its entry is not an object", "{\"a\":1}",
     .data_bytes = 0},
    {"entry_null", MALFORMED, "tensor \"a\": its entry is not an object", "{\"a\":null}",
     .data_bytes = 0},
    {"entry_string", MALFORMED, "tensor \"a\": its entry is not an object", "{\"a\":\"F32\"}",
     .data_bytes = 0},
    {"no_fields", MALFORMED, "tensor \"a\": dtype is missing", "{\"a\":{}}", .data_bytes = 0},
    {"no_dtype", MALFORMED, "tensor \"a\": dtype is missing",
     TENSOR("{\"shape\":[2],\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"no_shape", MALFORMED, "tensor \"a\": shape is missing",
     TENSOR("{\"dtype\":\"F32\",\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"no_offsets", MALFORMED, "tensor \"a\": data_offsets is missing",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[2]}"), .data_bytes = 8},
    {"dtype_unknown", MALFORMED, "tensor \"a\": unknown dtype \"F33\"",
     "{" ENTRY("a", "F33", "2", 0, 8) "}", .data_bytes = 8},
    {"dtype_lower_case", MALFORMED, "unknown dtype \"f32\"", "{" ENTRY("a", "f32", "2", 0, 8) "}",
     .data_bytes = 8},
    {"dtype_empty", MALFORMED, "unknown dtype \"\"", "{" ENTRY("a", "", "2", 0, 8) "}",
     .data_bytes = 8},
    {"dtype_space", MALFORMED, "unknown dtype \"F32 \"", "{" ENTRY("a", "F32 ", "2", 0, 8) "}",
     .data_bytes = 8},
    {"dtype_number", MALFORMED, "tensor \"a\": dtype is not a string",
     TENSOR("{\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"dtype_null", MALFORMED, "tensor \"a\": dtype is not a string",
     TENSOR("{\"dtype\":null,\"shape\":[2],\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"field_twice", MALFORMED, "tensor \"a\": the header is not valid JSON",
     TENSOR("{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"),
     .data_bytes = 8},
    {"shape_number", MALFORMED, "tensor \"a\": shape is not an array",
     TENSOR("{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"shape_null", MALFORMED, "tensor \"a\": shape is not an array",
     TENSOR("{\"dtype\":\"F32\",\"shape\":null,\"data_offsets\":[0,8]}"), .data_bytes = 8},
    {"shape_string", MALFORMED, "shape holds something other than integers",
     "{" ENTRY("a", "F32", "\"2\"", 0, 8) "}", .data_bytes = 8},
    {"shape_real", MALFORMED, "shape holds something other than integers",
     "{" ENTRY("a", "F32", "2.0", 0, 8) "}", .data_bytes = 8},
    {"shape_exponent", MALFORMED, "shape holds something other than integers",
     "{" ENTRY("a", "F32", "2e0", 0, 8) "}", .data_bytes = 8},
    {"shape_nested", MALFORMED, "shape holds something other than integers",
     "{" ENTRY("a", "F32", "[2]", 0, 8) "}", .data_bytes = 8},
    {"shape_true", MALFORMED, "shape holds something other than integers",
     "{" ENTRY("a", "F32", "true", 0, 4) "}", .data_bytes = 4},
    {"shape_negative", MALFORMED, "shape holds the negative number -2",
     "{" ENTRY("a", "F32", "-2", 0, 8) "}", .data_bytes = 8},
    {"shape_minus_zero", MALFORMED, "shape holds the negative number -0",
     "{" ENTRY("a", "F32", "-0", 0, 0) "}", .data_bytes = 0},
    {"shape_two_negatives", MALFORMED, "negative number -1",
     "{" ENTRY("a", "F32", "-1,-2", 0, 8) "}", .data_bytes = 8},
    {"shape_int64_min", MALFORMED, "-9223372036854775808",
     "{" ENTRY("a", "F32", "-9223372036854775808", 0, 8) "}", .data_bytes = 8},
    {"shape_too_big", MALFORMED, "tensor \"a\"",
     "{" ENTRY("a", "F32", "18446744073709551616", 0, 8) "}", .data_bytes = 8},
    {"product_overflow", MALFORMED, "tensor \"a\": the product of its shape does not fit",
     "{" ENTRY("a", "F32", "4294967296,4294967296", 0, 0) "}", .data_bytes = 0},
    {"product_overflow_zero", MALFORMED, "the product of its shape does not fit",
     "{" ENTRY("a", "F32", "4294967296,4294967296,0", 0, 0) "}", .data_bytes = 0},
    {"product_wraps", MALFORMED, "the product of its shape does not fit",
     "{" ENTRY("a", "U8", "4294967296,4294967296,2", 0, 8) "}", .data_bytes = 8},
    {"bits_overflow", MALFORMED, "tensor \"a\": the size of 1152921504606846976 elements of F32",
     "{" ENTRY("a", "F32", "1152921504606846976", 0, 0) "}", .data_bytes = 0},
    {"huge_claim", MALFORMED, "makes 288230376151711744 bytes of U8",
     "{" ENTRY("a", "U8", "288230376151711744", 0, 8) "}", .data_bytes = 8},
    {"f4_half_byte", MALFORMED, "tensor \"a\": 3 elements of F4 are 12 bits",
     "{" ENTRY("a", "F4", "3", 0, 2) "}", .data_bytes = 2},
    {"f6_half_byte", MALFORMED, "2 elements of F6_E3M2 are 12 bits",
     "{" ENTRY("a", "F6_E3M2", "2", 0, 2) "}", .data_bytes = 2},
    /* Offsets. */
    {"offsets_number", MALFORMED, "data_offsets is not an array",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":8}"), .data_bytes = 8},
    {"offsets_empty", MALFORMED, "data_offsets has 0 numbers instead of 2",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[]}"), .data_bytes = 8},
    {"offsets_one", MALFORMED, "data_offsets has 1 numbers instead of 2",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}"), .data_bytes = 8},
    {"offsets_three", MALFORMED, "data_offsets has 3 numbers instead of 2",
     TENSOR("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}"), .data_bytes = 8},
    {"offsets_string", MALFORMED, "data_offsets holds something other than integers",
     "{" ENTRY("a", "F32", "2", "0", 8) "}", .data_bytes = 8},
    {"offsets_real", MALFORMED, "data_offsets holds something other than integers",
     "{" ENTRY("a", "F32", "2", 0.0, 8) "}", .data_bytes = 8},
    {"offsets_negative", MALFORMED, "data_offsets holds the negative number -8",
     "{" ENTRY("a", "F32", "2", -8, 0) "}", .data_bytes = 8},
    {"offsets_minus_zero", MALFORMED, "data_offsets holds the negative number -0",
     "{" ENTRY("a", "F32", "2", -0, 8) "}", .data_bytes = 8},
    {"offsets_reversed", MALFORMED, "tensor \"a\": data_offsets [8, 0] end before they begin",
     "{" ENTRY("a", "F32", "2", 8, 0) "}", .data_bytes = 8},
    {"offsets_past_end", MALFORMED, "tensor \"a\": data_offsets [0, 16] are past the end",
     "{" ENTRY("a", "F32", "4", 0, 16) "}", .data_bytes = 8},
    {"offsets_far_past_end", MALFORMED, "are past the end of the data, which has 8 bytes",
     "{" ENTRY("a", "U8", "4611686018427387904", 0, 4611686018427387904) "}", .data_bytes = 8},
    {"offsets_too_big", MALFORMED, "tensor \"a\"",
     "{" ENTRY("a", "U8", "1", 18446744073709551615, 18446744073709551616) "}", .data_bytes = 8},
    {"hole_first", MALFORMED, "tensor \"a\": data_offsets [4, 12] leave a hole after",
     "{" ENTRY("a", "F32", "2", 4, 12) "}", .data_bytes = 12},
    {"hole_between", MALFORMED, "tensor \"b\": data_offsets [12, 20] leave a hole after",
     "{" F32_8 "," ENTRY("b", "F32", "2", 12, 20) "}", .data_bytes = 20},
    {"hole_of_empty", MALFORMED, "tensor \"b\": data_offsets [9, 9] leave a hole after",
     "{" F32_8 "," ENTRY("b", "F32", "0", 9, 9) "}", .data_bytes = 8},
    {"overlap", MALFORMED, "tensor \"b\": data_offsets [4, 12] overlap",
     "{" F32_8 "," ENTRY("b", "F32", "2", 4, 12) "}", .data_bytes = 12},
    {"overlap_same", MALFORMED, "overlap the data before, which ends at 8",
     "{" F32_8 "," ENTRY("b", "F32", "2", 0, 8) "}", .data_bytes = 8},
    {"overlap_inside", MALFORMED, "tensor \"a\": data_offsets [0, 8] overlap",
     "{" F32_8 "," ENTRY("b", "F32", "1", 4, 8) "," ENTRY("c", "F32", "1", 0, 4) "}",
     .data_bytes = 8},
    {"bytes_left", MALFORMED, "the tensors end at byte 8 of the data, which has 9", "{" F32_8 "}",
     .data_bytes = 9},
    {"bytes_left_no_tensor", MALFORMED, "the tensors end at byte 0 of the data, which has 1", "{}",
     .data_bytes = 1},
    {"bytes_missing", MALFORMED, "past the end of the data, which has 7 bytes", "{" F32_8 "}",
     .data_bytes = 7},
    {"size_small", MALFORMED, "tensor \"a\": its shape makes 12 bytes of F32",
     "{" ENTRY("a", "F32", "3", 0, 8) "}", .data_bytes = 8},
    {"size_large", MALFORMED, "its shape makes 4 bytes of F32, but data_offsets [0, 8] hold 8",
     "{" ENTRY("a", "F32", "1", 0, 8) "}", .data_bytes = 8},
    {"size_scalar", MALFORMED, "its shape makes 4 bytes of F32",
     "{" ENTRY("a", "F32", "", 0, 8) "}", .data_bytes = 8},
    {"size_empty", MALFORMED, "its shape makes 0 bytes of F32",
     "{" ENTRY("a", "F32", "0", 0, 8) "}", .data_bytes = 8},
    {"size_of_empty", MALFORMED, "its shape makes 8 bytes of F32",
     "{" ENTRY("a", "F32", "2", 0, 0) "}", .data_bytes = 0},
    {"size_f4", MALFORMED, "its shape makes 2 bytes of F4", "{" ENTRY("a", "F4", "4", 0, 4) "}",
     .data_bytes = 4},
    /* Metadata. */
    {"metadata_number", MALFORMED, "__metadata__ is not an object", WITH_METADATA("1"),
     .data_bytes = 8},
    {"metadata_array", MALFORMED, "__metadata__ is not an object", WITH_METADATA("[]"),
     .data_bytes = 8},
    {"metadata_string", MALFORMED, "__metadata__ is not an object", WITH_METADATA("\"x\""),
     .data_bytes = 8},
    {"metadata_value_number", MALFORMED, "__metadata__ \"k\": the header is not valid JSON",
     WITH_METADATA("{\"k\":1}"), .data_bytes = 8},
    {"metadata_value_null", MALFORMED, "__metadata__ \"k\"", WITH_METADATA("{\"k\":null}"),
     .data_bytes = 8},
    {"metadata_value_object", MALFORMED, "expected a string", WITH_METADATA("{\"k\":{}}"),
     .data_bytes = 8},
    {"metadata_key_twice", MALFORMED, "__metadata__ has the key \"k\" twice",
     WITH_METADATA("{\"k\":\"v\",\"k\":\"w\"}"), .data_bytes = 8},
    {"metadata_twice", MALFORMED, "the header has __metadata__ twice",
     WITH_METADATA("{},\"__metadata__\":{}"), .data_bytes = 8},
    {"metadata_as_tensor", MALFORMED, "__metadata__ \"shape\"",
     "{" ENTRY("__metadata__", "F32", "2", 0, 8) "}", .data_bytes = 8},
    /* Lathe's own metadata. */
    {"lathe_format_missing", MALFORMED, "has no \"lathe.format\"",
     QUANTIZED("", Q_TEXT, Q_DATA, Q_SCALE), .data_bytes = 14},
    {"lathe_format_newer", LATHE_NOT_SUPPORTED, "version \"2\"",
     QUANTIZED("\"lathe.format\":\"2\",", Q_TEXT, Q_DATA, Q_SCALE), .data_bytes = 14},
    {"lathe_no_json", MALFORMED, "tensor \"q\": its description in the metadata",
     QUANTIZED(Q_FORMAT, "i4", Q_DATA, Q_SCALE), .data_bytes = 14},
    {"lathe_not_object", MALFORMED, "tensor \"q\": its description in the metadata",
     QUANTIZED(Q_FORMAT, "[1]", Q_DATA, Q_SCALE), .data_bytes = 14},
    {"lathe_dtype_float", MALFORMED, "dtype is not the name of a quantized type",
     QUANTIZED(Q_FORMAT, "{\\\"dtype\\\":\\\"f16\\\"}", Q_DATA, Q_SCALE), .data_bytes = 14},
    {"lathe_shape_missing", MALFORMED, "shape is not an array of at most 16 sizes",
     QUANTIZED(Q_FORMAT, "{\\\"dtype\\\":\\\"i4\\\"}", Q_DATA, Q_SCALE), .data_bytes = 14},
    {"lathe_shape_negative", MALFORMED, "shape holds something other than sizes",
     QUANTIZED(Q_FORMAT, "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[-1]}", Q_DATA, Q_SCALE),
     .data_bytes = 14},
    {"lathe_granularity", MALFORMED, "granularity is none of",
     QUANTIZED(Q_FORMAT, "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[2,5],\\\"row_dims\\\":1}",
               Q_DATA, Q_SCALE),
     .data_bytes = 14},
    {"lathe_row_dims", MALFORMED, "row_dims is not an integer from 1 to 16",
     QUANTIZED(Q_FORMAT,
               "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[2,5],\\\"granularity\\\":\\\"row\\\"}",
               Q_DATA, Q_SCALE),
     .data_bytes = 14},
    {"lathe_row_dims_large", MALFORMED, "row_dims 3 is over",
     QUANTIZED(Q_FORMAT,
               "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[2,5],\\\"granularity\\\":\\\"row\\\","
               "\\\"row_dims\\\":3}",
               Q_DATA, Q_SCALE),
     .data_bytes = 14},
    {"lathe_group_missing", MALFORMED, "group_size must be",
     QUANTIZED(Q_FORMAT,
               "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[2,5],\\\"granularity\\\":\\\"group\\\","
               "\\\"row_dims\\\":1}",
               Q_DATA, Q_SCALE),
     .data_bytes = 14},
    {"lathe_group_odd", MALFORMED, "group_size 33 is not",
     QUANTIZED(Q_FORMAT,
               "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[2,5],\\\"granularity\\\":\\\"group\\\","
               "\\\"group_size\\\":33,\\\"row_dims\\\":1}",
               Q_DATA, Q_SCALE),
     .data_bytes = 14},
    {"lathe_overflow", MALFORMED, "does not fit in 64 bits",
     QUANTIZED(Q_FORMAT,
               "{\\\"dtype\\\":\\\"i4\\\",\\\"shape\\\":[4294967296,4294967296,4],"
               "\\\"granularity\\\":\\\"row\\\",\\\"row_dims\\\":1}",
               Q_DATA, Q_SCALE),
     .data_bytes = 14},
    {"lathe_no_tensor", MALFORMED,
     "tensor \"q\": the metadata describes it, but it is not in the file",
     QUANTIZED(Q_FORMAT, Q_TEXT, ENTRY("p", "U8", "2,3", 8, 14), Q_SCALE), .data_bytes = 14},
    {"lathe_stored_type", MALFORMED, "tensor \"q\": the metadata describes a tensor of type i4",
     QUANTIZED(Q_FORMAT, Q_TEXT, ENTRY("q", "I8", "2,3", 8, 14), Q_SCALE), .data_bytes = 14},
    {"lathe_stored_shape", MALFORMED, "tensor \"q\": the metadata describes a tensor of type i4",
     QUANTIZED(Q_FORMAT, Q_TEXT, ENTRY("q", "U8", "3,2", 8, 14), Q_SCALE), .data_bytes = 14},
    {"lathe_stored_dims", MALFORMED, "in 1",
     QUANTIZED(Q_FORMAT, Q_TEXT, ENTRY("q", "U8", "6", 8, 14), Q_SCALE), .data_bytes = 14},
    {"lathe_no_companion", MALFORMED, "its companion \"q_scale\" is not in the file",
     QUANTIZED(Q_FORMAT, Q_TEXT, Q_DATA, ENTRY("q_scales", "F32", "2,1", 0, 8)), .data_bytes = 14},
    {"lathe_companion_type", MALFORMED, "its companion \"q_scale\" is not F32 with the shape",
     QUANTIZED(Q_FORMAT, Q_TEXT, Q_DATA, ENTRY("q_scale", "I32", "2,1", 0, 8)), .data_bytes = 14},
    {"lathe_companion_shape", MALFORMED, "its companion \"q_scale\" is not F32 with the shape",
     QUANTIZED(Q_FORMAT, Q_TEXT, Q_DATA, ENTRY("q_scale", "F32", "2", 0, 8)), .data_bytes = 14},
};

enum { N_CASES = sizeof cases / sizeof cases[0], MOST_BYTES = 16 << 20 };

/* An allocator that remembers its largest request. */
static _Atomic size_t largest;

static void *allocate(void *ctx, size_t n_bytes, size_t alignment) {
    (void)ctx;
    if (n_bytes > atomic_load(&largest)) {
        atomic_store(&largest, n_bytes);
    }
    return aligned_alloc(alignment, (n_bytes + alignment - 1) / alignment * alignment);
}

static void release(void *ctx, void *memory, size_t n_bytes) {
    (void)ctx;
    (void)n_bytes;
    free(memory);
}

static lathe_pool *counting_pool(void) {
    const lathe_allocator allocator = {.allocate = allocate, .release = release};
    const lathe_pool_config config = {.struct_size = sizeof config, .allocator = &allocator};
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(&config, &pool));
    return pool;
}

/* Opens a file that must be refused. */
static void check_refused(lathe_pool *pool, const char *path, const char *name,
                          lathe_status expected, const char *fragment, size_t header_bytes) {
    lathe_checkpoint *checkpoint = NULL;
    atomic_store(&largest, 0);
    lathe_status status = lathe_checkpoint_open(pool, path, &checkpoint);
    const lathe_error *error = lathe_last_error();
    const char *base = strrchr(path, '/') + 1;
    CHECK(status == expected && error->status == expected, "%s: %s", name,
          lathe_status_name(status));
    CHECK(checkpoint == NULL, "%s: a checkpoint was made", name);
    CHECK(strstr(error->message, fragment) != NULL, "%s: \"%s\" is not in \"%s\"", name, fragment,
          error->message);
    CHECK(strstr(error->message, base) != NULL, "%s: the file is not named in \"%s\"", name,
          error->message);
    CHECK(strchr(error->message, '\n') == NULL, "%s: two lines", name);
    CHECK(atomic_load(&largest) <= MOST_BYTES + header_bytes, "%s: %zu bytes in one piece", name,
          atomic_load(&largest));
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    CHECK(stats.n_live == 0, "%s: %llu blocks leaked", name, (unsigned long long)stats.n_live);
}

Test(safetensors, malformed_files) {
    const char *kept = getenv("LATHE_KEEP_FILES");
    test_folder folder = test_folder_new();
    lathe_pool *pool = counting_pool();
    cr_assert(N_CASES >= 60);
    for (size_t i = 0; i < N_CASES; i++) {
        const test_case *c = &cases[i];
        size_t header_bytes = c->header_bytes != 0 ? c->header_bytes : strlen(c->header);
        uint64_t claimed = c->claimed != 0 ? c->claimed : header_bytes;
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s.safetensors", kept != NULL ? kept : folder.path,
                       c->name);
        test_write_container(path, claimed, c->header, header_bytes, NULL, c->data_bytes);
        check_refused(pool, path, c->name, c->status, c->fragment, header_bytes);
    }
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* Files of other kinds are called by their names. */
Test(safetensors, other_formats) {
    static const struct {
        const char *bytes;
        const char *fragment;
    } others[] = {
        {"GGUF\3\0\0\0\0", "begins as a GGUF file"},
        {"PK\3\4\0\0\x8\x8\0", "begins as a zip archive"},
        {"\x80\x2\x8a\nl\xfc\x9c\x46\xf9", "begins as a pickle"},
        {"\x89HDF\r\n\x1a\n\0", "begins as an HDF5 file"},
        {"version https://git-lfs.github.com/spec/v1\n", "begins as a Git LFS pointer"},
        {"{\"weight_map\":{}}", "begins as JSON"},
        {"{\n  \"a\": 1\n}", "begins as JSON"},
        {"ABCDEFGHI", "over the limit"},
    };
    test_folder folder = test_folder_new();
    lathe_pool *pool = counting_pool();
    const char *path = test_path(&folder, "other.safetensors");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const size_t length = strlen(others[i].bytes);
        test_write_file(path, others[i].bytes, length < 9 ? 9 : length);
        check_refused(pool, path, others[i].fragment, MALFORMED, others[i].fragment, 0);
    }
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* Files too short for a length, and headers too large for a table. */
Test(safetensors, malformed_sizes) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = counting_pool();
    const char *path = test_path(&folder, "short.safetensors");
    for (size_t n = 0; n < 8; n++) {
        test_write_file(path, "\2\0\0\0\0\0\0\0", n);
        check_refused(pool, path, "short", MALFORMED, test_text("has %zu bytes", n), 0);
    }
    test_write_file(path, "\2\0\0\0\0\0\0\0{", 9);
    check_refused(pool, path, "cut", MALFORMED, "is past the end of the file, which has 1 bytes",
                  1);

    /* Deep nesting, and long entries: nothing recurses, nothing grows. */
    enum { LONG = 4 << 20 };
    char *header = malloc(LONG);
    CHECK(header != NULL, "memory");
    memset(header, '[', LONG);
    memcpy(header, "{\"a\":", 5);
    test_write_container(path, LONG, header, LONG, NULL, 0);
    check_refused(pool, path, "deep", MALFORMED, "nested too deeply", LONG);
    memset(header, ' ', LONG);
    for (size_t i = 6; i + 1 < LONG; i += 2) {
        header[i] = '0';
        header[i + 1] = ',';
    }
    memcpy(header, "{\"a\":[", 6);
    memcpy(header + LONG - 3, "0]}", 3);
    test_write_container(path, LONG, header, LONG, NULL, 0);
    check_refused(pool, path, "long entry", MALFORMED, "tensor \"a\": the entry at byte 5", LONG);
    free(header);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* More dimensions than anyone makes: valid by the format, and refused by name. */
Test(safetensors, too_many_dimensions) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = counting_pool();
    const char *path = test_path(&folder, "dims.safetensors");
    char header[4096] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1";
    size_t at = strlen(header);
    for (int i = 1; i < 1025; i++) {
        memcpy(header + at, ",1", 3);
        at += 2;
    }
    (void)strcpy(header + at, "],\"data_offsets\":[0,1]}}");
    test_write_header(path, header, 1);
    check_refused(pool, path, "dims", LATHE_NOT_SUPPORTED,
                  "tensor \"a\": shape has 1025 dimensions", sizeof header);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* What is no file to read: a clear error at once, and never a wait. */
Test(safetensors, no_regular_file, .timeout = 20) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = counting_pool();
    const char *fifo = test_path(&folder, "fifo.safetensors");
    CHECK(mkfifo(fifo, 0600) == 0, "mkfifo");
    check_refused(pool, fifo, "fifo", LATHE_IO, "is not a regular file", 0);
    check_refused(pool, folder.path, "folder", LATHE_IO, "is a directory", 0);
    check_refused(pool, "/dev/zero", "device", LATHE_IO, "is not a regular file", 0);
    check_refused(pool, test_path(&folder, "none"), "missing", LATHE_NOT_FOUND, "No such file", 0);
    check_refused(pool, test_path(&folder, "fifo.safetensors/x"), "no folder", LATHE_NOT_FOUND,
                  "cannot open", 0);
    lathe_checkpoint *checkpoint = NULL;
    CHECK_STATUS(lathe_checkpoint_open(pool, "", &checkpoint), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_open(pool, NULL, &checkpoint), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_open(NULL, fifo, &checkpoint), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_open(pool, fifo, NULL), LATHE_INVALID_ARGUMENT);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* Names and texts from a file that would break a line, or crowd out what a message says. */
Test(safetensors, hostile_names) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = counting_pool();
    const char *path = test_path(&folder, "names.safetensors");
    test_write_header(path, "{\"a\\nb\\u001b[31m\":{}}", 0);
    check_refused(pool, path, "newline", MALFORMED, "tensor \"a?b?[31m\": dtype is missing", 0);
    char header[4096] = "{\"";
    memset(header + 2, 'x', 3000);
    (void)strcpy(header + 3002, "\":{}}");
    test_write_header(path, header, 0);
    check_refused(pool, path, "long name", MALFORMED, "xxx...\": dtype is missing", 0);
    for (size_t i = 2; i < 3002; i += 3) {
        memcpy(header + i, "\xe2\x82\xac", 3); /* cut between characters, not inside one */
    }
    test_write_header(path, header, 0);
    check_refused(pool, path, "long UTF-8", MALFORMED, "\xe2\x82\xac...\": dtype is missing", 0);
    test_write_header(path, "{\"a\\u0000b\":{}}", 0);
    check_refused(pool, path, "escaped NUL", MALFORMED, "the character NUL", 0);
    test_write_header(path, "{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0);
    check_refused(pool, path, "escaped NUL value", MALFORMED, "\"k\"", 0);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}
