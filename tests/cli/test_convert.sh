# SPDX-License-Identifier: Apache-2.0
# convert: every option has an effect that can be seen.

"$LATHE" synth in.safetensors --size 4MiB --quiet
input_hash=$(hash_of in.safetensors)
matrix=model.layers.0.mlp.up_proj.weight
norm=model.norm.weight

# Every type, with the sizes that docs/formats.md gives.
for dtype in f32 f16 bf16 i8 i4 i2 i1 bitnet158; do
    succeeds "to $dtype" convert in.safetensors -o $dtype.safetensors --to $dtype --json
    same "to $dtype: input_bytes" "$(stat -c %s in.safetensors)" "$(json input_bytes)"
    same "to $dtype: output_bytes" "$(stat -c %s $dtype.safetensors)" "$(json output_bytes)"
    same "to $dtype: tensors" "$(json n_tensors)" "$(json tensors.#)"
    same "to $dtype: a matrix" "f32 $dtype" \
        "$(tensor_json $matrix from) $(tensor_json $matrix to)"
    same "to $dtype: a norm" "f32 f32 false" \
        "$(tensor_json $norm from) $(tensor_json $norm to) $(tensor_json $norm converted)"
    same "to $dtype: device" cpu "$(json device)"
    check "to $dtype: peak_pool_bytes" test "$(json peak_pool_bytes)" -gt 0
    succeeds "inspect $dtype" inspect $dtype.safetensors --json
    same "inspect $dtype: a matrix" "$dtype" "$(tensor_json $matrix dtype)"
    succeeds "from $dtype" convert $dtype.safetensors -o back.safetensors --to f32 --force --quiet
    same "from $dtype: quiet" "" "$(cat out)"
    succeeds "compare $dtype" compare $dtype.safetensors back.safetensors --json
    same "from $dtype: the decoded values" true "$(json total.identical)"
done
check "f32 to f32 keeps the data" cmp \
    <(tail -c 1000000 in.safetensors) <(tail -c 1000000 f32.safetensors)
same "the input is untouched" "$input_hash" "$(hash_of in.safetensors)"

# The summary.
succeeds "summary" convert in.safetensors -o s.safetensors --to i8
check "summary: a row of the pair" grep -qE '^f32 +i8 ' out
check "summary: a row of the kept" grep -qE '^f32 +\(kept\) ' out
check "summary: the files" grep -qE '^files ' out
check "summary: time and speed" grep -qE '^[0-9.]+ s, [0-9]+ MB/s, cpu ' out

# --output, --force
cp i8.safetensors kept.safetensors
fails "an existing output" "kept.safetensors" convert in.safetensors -o kept.safetensors --to f16
check "an existing output is unchanged" cmp i8.safetensors kept.safetensors
succeeds "force" convert in.safetensors --output=kept.safetensors --to f16 --force
check "force replaces" cmp f16.safetensors kept.safetensors

# In == out.
cp in.safetensors self.safetensors
fails "in == out without force" "self.safetensors" convert self.safetensors -o self.safetensors --to f16
check "in == out without force: unchanged" cmp in.safetensors self.safetensors
succeeds "in == out" convert self.safetensors -o ./self.safetensors --to f16 --force
check "in == out: the same result" cmp f16.safetensors self.safetensors
cp in.safetensors real.safetensors
ln -s real.safetensors link.safetensors
succeeds "in == out through a link" convert real.safetensors -o link.safetensors --to f16 --force
check "in == out through a link: the same result" cmp f16.safetensors link.safetensors

# --granularity
for granularity in tensor row group:32; do
    succeeds "$granularity" convert in.safetensors -o g.safetensors --to i8 --force --json \
        --granularity $granularity
    scales=$(tensor_json $matrix scale_count)
    succeeds "$granularity: inspect" inspect g.safetensors --json
    rows=$(tensor_json $matrix shape.0)
    elements=$(tensor_json $matrix elements)
    same "$granularity: inspected" "$granularity $scales" \
        "$(tensor_json $matrix granularity) $(tensor_json $matrix scales)"
    case $granularity in
    tensor) same "one scale a tensor" 1 "$scales" ;;
    row) same "one scale a row" "$rows" "$scales" ;;
    group:32) same "one scale a group" $((elements / 32)) "$scales" ;;
    esac
done

# --row-dims: 2 x 3 x 4 has six rows of 4, or two of 12.
hex=$(printf '0000803f%.0s' {1..24})
"$HELPER" safetensors conv.safetensors \
    '{"conv":{"dtype":"F32","shape":[2,3,4],"data_offsets":[0,96]}}' "$hex"
for dims in 1 2 3; do
    succeeds "row-dims $dims" convert conv.safetensors -o c.safetensors --to bitnet158 --force \
        --json --granularity row --row-dims $dims
    same "row-dims $dims: scales" $((dims == 1 ? 6 : dims == 2 ? 2 : 1)) \
        "$(tensor_json conv scale_count)"
    same "row-dims $dims: bytes of data" $((dims == 1 ? 6 : dims == 2 ? 6 : 5)) \
        "$(($(tensor_json conv bytes_out) - 4 * $(tensor_json conv scale_count)))"
done

# --quality: the sample of a long tensor misses some of its greatest values.
succeeds "long" synth long.safetensors --size 32MiB --quiet
succeeds "balanced" convert long.safetensors -o balanced.safetensors --to i8 --quality balanced --json
succeeds "fast" convert long.safetensors -o fast.safetensors --to i8 --quality fast --json
check_not "fast takes other scales" cmp balanced.safetensors fast.safetensors
succeeds "balanced i4" convert in.safetensors -o b4.safetensors --to i4 --quiet
succeeds "precise i4" convert in.safetensors -o p4.safetensors --to i4 --quality precise --quiet
succeeds "balanced i4: error" compare in.safetensors b4.safetensors --json
balanced=$(json total.sqnr_db | cut -d. -f1)
succeeds "precise i4: error" compare in.safetensors p4.safetensors --json
precise=$(json total.sqnr_db | cut -d. -f1)
check "precise has less noise" test "$precise" -gt "$balanced"

# --strict
fails "strict" "embed_tokens" convert in.safetensors -o p.safetensors --to f16 --strict
check_not "strict: no output" test -e p.safetensors
succeeds "strict without loss" convert f16.safetensors -o p.safetensors --to f32 --strict --force

# --nonfinite
"$HELPER" safetensors nan.safetensors \
    '{"weird":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}' 0000803f0000c07f0000807f000080bf
fails "nonfinite" "weird" convert nan.safetensors -o n.safetensors --to i8
fails "nonfinite error" "weird" convert nan.safetensors -o n.safetensors --to i8 --nonfinite error
check_not "nonfinite: no output" test -e n.safetensors
succeeds "nonfinite saturate" convert nan.safetensors -o n.safetensors --to i8 --nonfinite saturate

# --shard-size
succeeds "shards" convert in.safetensors -o shards.safetensors --to i8 --shard-size 256KiB --json
n_shards=$(json shards)
check "shards: several" test "$n_shards" -ge 3
same "shards: files" "$n_shards" "$(ls shards-0*-of-*.safetensors | wc -l)"
check "shards: the index" test -f shards.safetensors.index.json
check_not "shards: no single file" test -e shards.safetensors
succeeds "shards: inspect" inspect shards.safetensors.index.json --json
same "shards: tensors" "$n_shards" "$(json files.#)"
succeeds "shards: compare" compare i8.safetensors shards.safetensors.index.json --json
same "shards: what a single file holds" true "$(json total.identical)"
fails "shards that exist" "exists already" \
    convert in.safetensors -o shards.safetensors --to i8 --shard-size 256KiB
succeeds "shards: larger ones, from shards" convert shards.safetensors.index.json \
    -o large.safetensors.index.json --to keep --shard-size 1GiB
check "shards: one of them" test -f large-00001-of-00001.safetensors
check "shards: the summary" grep -q '^1 shard and an index' out
succeeds "shards: compare the larger" compare i8.safetensors large.safetensors.index.json --json
same "shards: the larger" true "$(json total.identical)"
misused "no size" convert in.safetensors -o z.safetensors --to i8 --shard-size 0
misused "no size" convert in.safetensors -o z.safetensors --to i8 --shard-size much

# --rule, keep
succeeds "rules" convert in.safetensors -o r.safetensors --to i4 --json \
    --rule '*q_proj*=keep' --rule '*_proj*=i8' --rule '*.norm.*=bf16' --rule '*q_proj*=i1'
same "the first rule wins" f32 "$(tensor_json model.layers.0.self_attn.q_proj.weight to)"
same "the second rule" i8 "$(tensor_json model.layers.0.self_attn.k_proj.weight to)"
same "a rule for one dimension" bf16 "$(tensor_json $norm to)"
same "no rule" i4 "$(tensor_json lm_head.weight to)"
succeeds "a rule that matches nothing" convert in.safetensors -o r2.safetensors --to i8 --json \
    --rule '*embd*=bf16' --rule 'lm_head*=keep'
same "a rule that matches nothing: json" '0 1' "$(json rules.0.tensors) $(json rules.1.tensors)"
succeeds "a rule that matches nothing, summary" convert in.safetensors -o r3.safetensors --to i8 \
    --rule '*embd*=bf16'
check "the summary names it" grep -qF "'*embd*' decided about no tensor" out
succeeds "to keep" convert in.safetensors -o k.safetensors --to keep --rule 'lm_head*=f16' --json
same "to keep: kept" f32 "$(tensor_json $matrix to)"
same "to keep: converted" "1 f16" "$(json converted) $(tensor_json lm_head.weight to)"

# --memory: the buffers shrink, the result stays.
succeeds "memory 1MiB" convert long.safetensors -o m1.safetensors --to i8 --memory 1MiB --json
small=$(json peak_pool_bytes)
succeeds "memory 32MiB" convert long.safetensors -o m2.safetensors --to i8 --memory 32MiB --json
large=$(json peak_pool_bytes)
check "memory 1MiB: few buffers" test "$small" -le $((2 * 1048576))
check "memory 32MiB: more buffers ($small, $large)" test "$large" -gt "$small"
check "memory 32MiB: within" test "$large" -le $((34 * 1048576))
check "memory does not change the result" cmp m1.safetensors m2.safetensors
check "memory: as by default" cmp m1.safetensors balanced.safetensors

# --device, --threads, --isa
succeeds "device cpu" convert in.safetensors -o d.safetensors --to f16 --device cpu
fails "no such device" "." convert in.safetensors -o e.safetensors --to f16 --device opencl:99
check_not "no such device: no output" test -e e.safetensors
for threads in 1 3; do
    succeeds "threads $threads" convert long.safetensors -o t.safetensors --to bitnet158 --force \
        --json --threads $threads
    same "threads $threads: reported" $threads "$(json threads)"
    hashes[threads]=$(hash_of t.safetensors)
done
same "threads do not change the result" "${hashes[1]}" "${hashes[3]}"
lathe devices --json --no-check
best=$(json devices.0.isa)
for isa in auto scalar "$best"; do
    succeeds "isa $isa" convert in.safetensors -o i.safetensors --to i8 --force --json --isa "$isa"
    same "isa $isa: reported" "${isa/auto/$best}" "$(json isa)"
    check "isa $isa: the same result" cmp i.safetensors i8.safetensors
done
if [ "$best" != avx512 ]; then
    fails "isa avx512 without it" "." convert in.safetensors -o x.safetensors --to i8 --isa avx512
fi

# Shards.
"$HELPER" safetensors m-1.safetensors \
    '{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}' 0000803f00000040000040400000803f
"$HELPER" safetensors m-2.safetensors \
    '{"__metadata__":{"who":"me"},"b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}' \
    0100000000000000
echo '{"metadata":{"total_size":24},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}' \
    >m.safetensors.index.json
succeeds "shards" inspect m.safetensors.index.json --json
same "shards: files" 2 "$(json files.#)"
succeeds "shards into one file" convert m.safetensors.index.json -o one.safetensors --to f16 --json
same "shards into one file: tensors" 2 "$(json n_tensors)"
same "shards into one file: an integer is kept" false "$(tensor_json b converted)"
mkdir sharded
succeeds "shards into shards" convert m.safetensors.index.json \
    -o sharded/m.safetensors.index.json --to f16
succeeds "shards into shards: inspect" inspect sharded/m.safetensors.index.json --json
same "shards into shards: files" 2 "$(json files.#)"
succeeds "shards: the same values" compare one.safetensors sharded/m.safetensors.index.json --json
same "shards: identical" true "$(json total.identical)"

# The bar: on a terminal only, and not with --quiet.
if command -v script >/dev/null; then
    bar() {
        script -qec "'$LATHE' convert long.safetensors -o bar.safetensors --to i8 --force $* >/dev/null" \
            /dev/null </dev/null 2>/dev/null
    }
    check "a bar on a terminal" grep -q '] *[0-9]*%' <(bar)
    check_not "no bar with --quiet" grep -q '%' <(bar --quiet)
else
    skip "progress bar: there is no script(1)"
fi
