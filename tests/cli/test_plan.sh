# SPDX-License-Identifier: Apache-2.0
# plan: its keys, what memory and strategies do to it, and the file of measurements.

export XDG_CACHE_HOME=$PWD/cache
shape=(--shape 512x512 --device cpu)
succeeds "json" plan --from f32 --to bitnet158 "${shape[@]}" --json
same "json: keys" "strategy device passes estimated_ns extra_bytes compression reason" \
    "$(grep -oE '"[a-z_]+":' out | tr -d '":' | tr '\n' ' ' | sed 's/ $//')"
same "json: strategy" direct "$(json strategy)"
same "json: device" cpu "$(json device)"
same "json: passes" "2 stats convert" "$(json passes.#) $(json passes.0) $(json passes.1)"
check "json: estimated_ns" test "$(json estimated_ns)" -gt 0
check "json: extra_bytes" test "$(json extra_bytes)" -ge $((512 * 103 + 4))
check "json: compression" grep -qE '^(19\.[0-9]+|20(\.0+)?)$' <(json compression)

check "measurements are kept" test -s cache/lathe/calibration.json
cp cache/lathe/calibration.json first
succeeds "again" plan --from f32 --to bitnet158 "${shape[@]}" --json
check "again: nothing is measured" cmp first cache/lathe/calibration.json
echo '{"lathe_calibration": 1, "machines": 7' >cache/lathe/calibration.json
succeeds "a broken file" plan --from f32 --to bitnet158 "${shape[@]}"
check "a broken file: written anew" grep -q '"ns_per_byte"' cache/lathe/calibration.json
rm -rf cache
succeeds "no folder" plan --from f32 --to f16 "${shape[@]}" --program-cache none
check_not "no folder: no file" test -e cache

succeeds "text" plan --from f32 --to f16 "${shape[@]}"
same "text: one line" 1 "$(wc -l <out)"
check "text: what it says" grep -qE '^direct on cpu with [0-9]+ threads? in 1 pass \(convert\), about [0-9]+\.[0-9] [mu]?s' out
succeeds "same type" plan --from f16 --to f16 "${shape[@]}" --json
same "same type: strategy" "zero_copy 0 0" "$(json strategy) $(json passes.#) $(json extra_bytes)"
succeeds "consume" plan --from f32 --to f16 "${shape[@]}" --consume --json
same "consume: strategy" "in_place 0" "$(json strategy) $(json extra_bytes)"
succeeds "memory" plan --from f32 --to f16 --shape 4096x4096 --device cpu --memory 8MiB --json
same "memory: strategy" streaming "$(json strategy)"
check "memory: within it" test "$(json extra_bytes)" -le $((8 << 20))
succeeds "strategy" plan --from f32 --to f16 "${shape[@]}" --strategy streaming --json
same "strategy: streaming" streaming "$(json strategy)"
succeeds "quantized" plan --from i8 --to f32 "${shape[@]}" --granularity row --json
same "quantized: passes" "1 convert" "$(json passes.#) $(json passes.0)"
succeeds "threads" plan --from f32 --to f16 "${shape[@]}" --threads 1
check "threads: one" grep -q 'with 1 thread ' out

fails "wider in place" "in_place" plan --from f16 --to f32 "${shape[@]}" --strategy in_place
fails "not the same" "zero_copy" plan --from f16 --to bf16 "${shape[@]}" --strategy zero_copy
fails "too little memory" "left" plan --from f32 --to f16 --shape 4096x4096 --device cpu \
    --memory 1KiB
fails "too large" "64 bits" plan --from f32 --to f16 --shape 99999999999x99999999999
for bad in 4096x x4096 4096xx4 a 4096*2 "" 1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1; do
    misused "shape '$bad'" plan --from f32 --to f16 --shape "$bad"
done
misused "no shape" plan --from f32 --to f16
misused "no types" plan --shape 4
misused "strategy batch" plan --from f32 --to f16 --shape 4 --strategy batch
misused "no memory" plan --from f32 --to f16 --shape 4 --memory 0
