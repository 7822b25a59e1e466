# SPDX-License-Identifier: Apache-2.0
# inspect and devices: what they print, for people and for machines.

"$HELPER" safetensors a.safetensors \
    '{"__metadata__":{"format":"pt","note":"two\nlines"},"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"n":{"dtype":"F32","shape":[3],"data_offsets":[12,24]},"ids":{"dtype":"I64","shape":[],"data_offsets":[24,32]}}' \
    "$(printf '00%.0s' {1..32})"
succeeds "inspect" inspect a.safetensors
cat >expected <<'END'
file             size
a.safetensors  [size]

metadata  value
format    pt
note      two?lines

dtype  tensors  elements  size
f16          1         6  12 B
f32          1         3  12 B
I64          1         1   8 B
total        3        10  32 B
END
same "inspect: text" "$(cat expected)" "$(sed -E 's/^(a.safetensors) +.*/\1  [size]/; s/^file +size/file             size/' out)"

succeeds "inspect --tensors" inspect a.safetensors --tensors
cat >expected <<'END'
tensor  dtype  stored  shape   granularity  bytes  scales
w       f16    F16     [2, 3]  -               12       0
n       f32    F32     [3]     -               12       0
ids     I64    I64     []      -                8       0
END
same "inspect --tensors: the list" "$(cat expected)" "$(tail -4 out)"

succeeds "inspect --json" inspect a.safetensors --json
same "json: file" a.safetensors "$(json files.0.path)"
same "json: size" "$(stat -c %s a.safetensors)" "$(json file_bytes)"
same "json: metadata" pt "$(json metadata.format)"
same "json: types" "f16 f32 I64" "$(json types.0.dtype) $(json types.1.dtype) $(json types.2.dtype)"
same "json: shape" "[2,3]" "$(tensor_json w shape)"
same "json: no granularity" "(none)" "$(tensor_json w granularity)"

succeeds "quantize" convert a.safetensors -o q.safetensors --to bitnet158 --granularity row --quiet
succeeds "inspect a quantized file" inspect q.safetensors --json
same "quantized: companions are not listed" 3 "$(json n_tensors)"
same "quantized: type" "bitnet158 row 2 2" \
    "$(tensor_json w dtype) $(tensor_json w granularity) $(tensor_json w bytes) $(tensor_json w scales)"

# Names of files are bytes; in JSON, which is text, a question mark stands for each beyond ASCII.
odd=$(printf '\377.safetensors')
succeeds "a name that is not UTF-8" synth "$odd" --size 1MiB --json
same "a name that is not UTF-8: synth" "?.safetensors" "$(json path)"
succeeds "a name that is not UTF-8" inspect "$odd" --json
same "a name that is not UTF-8: inspect" "?.safetensors ?.safetensors" \
    "$(json files.0.path) $(json tensors.0.file)"
succeeds "a rule that is not UTF-8" convert a.safetensors -o r.safetensors --to f16 --json \
    --rule "$(printf '\377')=f32"
same "a rule that is not UTF-8: convert" "?" "$(json rules.0.glob)"

succeeds "devices" devices --no-check
check "devices: a CPU" grep -q '^cpu ' out
succeeds "devices --json" devices --no-check --json
same "devices: the CPU" "cpu cpu passed" \
    "$(json devices.0.selector) $(json devices.0.kind) $(json devices.0.self_check)"
check "devices: threads" test "$(json devices.0.threads)" -ge 1
check "devices: memory" test "$(json devices.0.memory_bytes)" -ge 1048576

# A long name moves the rest of its own row, not of all rows.
long=$(printf 'n%.0s' {1..3000})
"$HELPER" safetensors long.safetensors \
    "{\"$long\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}" 0102
succeeds "a long name" inspect long.safetensors --tensors
check "a long name is there" grep -q "^$long  " out
check "a long name: the others' rows" test "$(grep '^w ' out | wc -c)" -lt 200
