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
for key in gbps copy_gbps ratio ratio_q1 ratio_q3 seconds seconds_q1 seconds_q3 read_gbps write_gbps limit; do
    check "$key" grep -qE '^[0-9]+\.?[0-9]*(e-?[0-9]+)?$' <(json results.0.$key)
done
succeeds "a pair of three rows" bench "${small[@]}" --filter 'f32->i8' --json
same "a pair of three rows: rows" 3 "$(json results.#)"
succeeds "one name" bench "${small[@]}" --row 512 --filter 'f32->i8/row' --json
same "one name: rows" 1 "$(json results.#)"
same "rows of so many elements" 512 "$(json results.0.row_elements)"
succeeds "a part of names" bench "${small[@]}" --group 64 --filter 'group:64' --json
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
for key in version date compiler build cpu best_isa l1d_bytes; do
    check "machine: $key" test -n "$(json machine.$key)"
done
same "the device that was measured" cpu "$(json devices.0.selector)"
succeeds "isas" bench "${small[@]}" --filter 'f32->f16' --isa auto,scalar --json
same "isas: rows" 2 "$(json results.#)"
same "isas: the second" scalar "$(json results.1.isa)"
succeeds "sizes" bench --repeat 1 --filter 'f32->f16' --size 4KiB,20KiB --json
same "sizes: elements" "1024 5120" "$(json results.0.elements) $(json results.1.elements)"
succeeds "a dozen for several sizes" bench --repeat 1 --sizes 4KiB,8KiB --json
check "a dozen for several sizes: rows" test "$(json results.#)" -lt 40
succeeds "every pair, 4 KiB" bench --repeat 1 --all --size 4KiB --json
same "every pair: rows" $((9 + 3 * (64 - 9) + 6)) "$(json results.#)"
succeeds "kernels" bench --repeat 1 --kernels --size 4KiB --filter 'f32->i8' --json
same "kernels: rows, the given scale's too" 4 "$(json results.#)"
same "kernels: mode" kernel "$(json results.0.mode)"
succeeds "table" bench "${small[@]}" --filter 'f32->f16'
check "table: version" grep -qE '^lathe [0-9.]+, (gcc|clang) ' out
check "table: heading" grep -qE '^conversion +device +isa +threads +size +GB/s +copy GB/s +ratio +limit +copy$' out
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
misused "strategies with sizes" bench --strategies --size 4KiB,8KiB

lathe bench "${small[@]}" --filter 'f32->i8' --json
cp out new.json
succeeds "csv" bench --csv new.json
same "csv: lines" 4 "$(wc -l <out)"
same "csv: as many columns in each line" 1 "$(awk -F, '{ print NF }' out | sort -u | wc -l)"
check "csv: heading" grep -qE '^name,.*,seconds_q1,.*,driver$' out
check "csv: row" grep -qE '^f32->i8/row,call,,,cpu,' out
succeeds "csv, measured" bench "${small[@]}" --filter 'f32->f16' --csv
same "csv, measured: lines" 2 "$(wc -l <out)"

# A speed that was ten thousand times as high, by time and beside the copy.
faster=(-e 's/("seconds[_q13]*": )[0-9.e-]+/\11e-12/' -e 's/("ratio[_q13]*": )[0-9.e-]+/\11e6/')
sed -E "${faster[@]}" new.json >fast.json
succeeds "the same results" bench --compare new.json new.json
check "the same results: count" grep -q '^3 rows compared, threshold 10 %: 0 slower, 0 faster$' out
lathe bench --compare fast.json new.json
same "slower: exit status" 1 "$status"
same "slower: rows" 3 "$(grep -c '^slower: f32->i8/' out)"
succeeds "faster" bench --compare new.json fast.json
same "faster: rows" 3 "$(grep -c '^faster: f32->i8/' out)"
sed -E 's/("seconds[_q13]*": )[0-9.e-]+/\11e-12/' new.json >noise.json
succeeds "slower, and the copy as well" bench --compare noise.json new.json
sed -e 's/"f32->i8\/row"/"f32->i8\/other"/' new.json >other.json
succeeds "a row less" bench --compare other.json new.json
check "a row less: the older" grep -q '^only in the older results: f32->i8/other' out
check "a row less: the newer" grep -q '^only in the newer results: f32->i8/row' out
sed -e 's/"cpu": "/&another /' new.json >elsewhere.json
succeeds "another processor" bench --compare elsewhere.json new.json
check "another processor: said" grep -q 'different processors' out
lathe bench "${small[@]}" --filter 'f32->i8' --compare fast.json --threshold 5
same "measured and compared: exit status" 1 "$status"
check "measured and compared: threshold" grep -q 'threshold 5 %: 3 slower' out
echo '{}' >empty.json
fails "no results" "no results" bench --compare empty.json new.json
fails "no JSON" "no.json" bench --compare no.json new.json
fails "no JSON, found before anything is measured" "no.json" bench "${small[@]}" --compare no.json
sed -e 's/f32->i8/f32->zz/' new.json >none.json
lathe bench --compare none.json new.json
same "nothing in common: exit status" 1 "$status"

succeeds "plot" bench --plot out.svg new.json
check "plot: begins" grep -q '^<svg xmlns="http://www.w3.org/2000/svg"' out.svg
check "plot: ends" grep -q '^</svg>$' out.svg
same "plot: panels" 3 "$(grep -c 'class="title"' out.svg)"
check "plot: name, escaped" grep -q '>f32-&gt;i8/row<' out.svg
check "plot: a line of the copy" grep -qE '<path class="copy" stroke="#[0-9a-f]+" d="M[0-9.]+ [0-9.]+' out.svg
if command -v xmllint >/dev/null; then
    check "plot: well-formed" xmllint --noout out.svg
elif command -v python3 >/dev/null; then
    check "plot: well-formed" python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' out.svg
fi
fails "plot: no folder" "cannot write" bench --plot no/out.svg new.json
lathe bench --repeat 1 --strategies=zero_copy --json
cp out strategies.json
fails "plot: no speeds" "no speeds" bench --plot out.svg strategies.json
succeeds "strategies: compared" bench --compare strategies.json strategies.json

for bad in --size=1 --size=4KiB, --size=sweep,4KiB --sizes= --threads= --threads=1,,2 --isa=avx --isa=auto,none \
    --repeat=0 --threshold=5 --device=none --kernels\ --threads=2 --json\ --csv; do
    # shellcheck disable=SC2086 # words
    misused "$bad" bench $bad
done
misused "a threshold that is no number" bench --compare new.json --threshold x new.json
misused "two files" bench --csv new.json new.json
misused "earlier results, and nothing to do" bench new.json
if ! "$LATHE" bench --peers --filter nothing 2>&1 | grep -q LATHE_PEERS; then
    succeeds "peers" bench --peers --repeat 1 --size 16KiB --filter 'f32->f16' --json
    check "peers: at least one" test "$(json results.0.peers.#)" -ge 1
else
    misused "no peers in this build" bench --peers
fi

# Files.
mkdir files
succeeds "file" bench --strategies=file --folder files --size 1MiB --repeat 1 --json
same "file: a name" file "$(json results.0.name)"
same "file: nothing is left" "" "$(ls -A files)"
misused "file without a folder" bench --strategies=file
misused "a folder without strategies" bench --folder files
fails "file: no such folder" "none" \
    bench --strategies=file --folder none --size 1MiB --repeat 1 --json
