# SPDX-License-Identifier: Apache-2.0
# bench: rows, names and options; speeds are for the bench itself to judge.

small=(--size 64KiB --repeat 1)
succeeds "all" bench "${small[@]}" --json
n=$(json results.#)
names=$(for ((i = 0; i < n; i++)); do json results.$i.name; done)
for name in f32-\>f16 f32-\>bf16 f16-\>f32 bf16-\>f32 f16-\>bf16 bf16-\>f16 \
    {f32,f16,bf16}-\>{i8,i4,bitnet158}/{tensor,row,group:128} f32-\>i2/tensor f32-\>i1/tensor \
    {i8,i4,i2,i1,bitnet158}-\>{f32,f16,bf16}/tensor; do
    check "row $name" grep -qxF -e "$name" <<<"$names"
done
same "names are unique" "$n" "$(sort -u <<<"$names" | wc -l)"

succeeds "one" bench "${small[@]}" --filter 'f16->f32' --json
same "exact pair: one row" "1 f16->f32" "$(json results.#) $(json results.0.name)"
same "elements" 16384 "$(json results.0.elements)"
same "bytes" $((16384 * 6)) "$(json results.0.bytes)"
same "device" cpu "$(json results.0.device)"
same "threads" 1 "$(json results.0.threads)"
for key in gbps copy_gbps ratio; do
    check "$key" grep -qE '^[0-9]+\.?[0-9]*(e-?[0-9]+)?$' <(json results.0.$key)
done
succeeds "a pair of three rows" bench "${small[@]}" --filter 'f32->i8' --json
same "a pair of three rows: rows" 3 "$(json results.#)"
succeeds "one name" bench "${small[@]}" --filter 'f32->i8/row' --json
same "one name: rows" 1 "$(json results.#)"
succeeds "a part of names" bench "${small[@]}" --filter 'group:128' --json
check "a part of names: rows" test "$(json results.#)" -gt 3
fails "no name" "nothing" bench --filter nothing

succeeds "threads" bench "${small[@]}" --filter 'f32->f16' --threads 1,2 --json
same "threads: rows" "1 2" "$(json results.0.threads) $(json results.1.threads)"
succeeds "size" bench --repeat 1 --size 1MiB --filter 'f32->f16' --json
same "size: elements" 262144 "$(json results.0.elements)"
succeeds "quick" bench --quick --filter 'f32->f16' --json
same "quick: elements" $((16 << 20)) "$(json results.0.elements)"
succeeds "isa" bench "${small[@]}" --filter 'f32->f16' --isa scalar --json
same "isa: reported" scalar "$(json results.0.isa)"
succeeds "table" bench "${small[@]}" --filter 'f32->f16'
check "table: heading" grep -qE '^conversion +isa +threads +GB/s +copy GB/s +ratio$' out
check "table: row" grep -qE '^f32->f16 ' out

succeeds "strategies" bench --repeat 1 --strategies=small --json
same "strategies: names" "small small" "$(json results.0.name) $(json results.1.name)"
for key in seconds against_seconds ratio; do
    check "strategies: $key" grep -qE '^[0-9]+\.?[0-9]*(e-?[0-9]+)?$' <(json results.0.$key)
done
succeeds "strategies: table" bench --repeat 1 --strategies=small
check "strategies: heading" grep -qE '^strategy +what +time +other +ratio +other$' out
check "strategies: row" grep -qE '^small +convert f32->f16, 4 KiB ' out
succeeds "strategies: plan" bench --quick --repeat 1 --strategies=plan --device cpu --json
same "strategies: plan: rows" 30 "$(json results.#)"
check "strategies: plan: who was best" grep -qE '^(one thread|all threads|opencl:[0-9]+)$' \
    <(json results.0.against)
misused "strategies: no such one" bench --strategies=help
check "strategies: their names" grep -q 'small.*plan' err
misused "strategies with a filter" bench --strategies --filter f32
