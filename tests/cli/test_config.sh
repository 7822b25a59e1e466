# SPDX-License-Identifier: Apache-2.0
# --config: settings from a file, options that win over them, and files that are wrong; --stats.

"$LATHE" synth in.safetensors --size 2MiB --quiet

# with JSON: writes the file that --config gets.
with() { printf '%s' "$1" >config.json; }

# Everything can come from the file, the type included.
succeeds "options" convert in.safetensors -o a.safetensors --to i8 --granularity row \
    --quality fast --nonfinite saturate --threads 1 --isa scalar
with '{"n_threads": 1, "isa": "scalar", "target": {"dtype": "i8", "granularity": "row",
       "quality": "fast", "nonfinite": "saturate"}}'
succeeds "file" convert in.safetensors -o b.safetensors --config config.json --json
check "the file's settings are the options'" cmp a.safetensors b.safetensors
same "the file's threads and isa" "1 scalar" "$(json threads) $(json isa)"

# Options win, wherever they stand.
for order in "--threads 2 --config config.json" "--config config.json --threads 2"; do
    # shellcheck disable=SC2086
    succeeds "options win: $order" convert in.safetensors -o c.safetensors --force --to i4 $order \
        --granularity group:64 --quality balanced --nonfinite error --json
    same "options win: threads" 2 "$(json threads)"
done
succeeds "no file" convert in.safetensors -o d.safetensors --to i4 --granularity group:64
check "options win over the file's target" cmp c.safetensors d.safetensors
succeeds "--to keep wins" convert in.safetensors -o e.safetensors --config config.json --to keep --json
same "--to keep wins: nothing is converted" 0 "$(json converted)"

# The part of a preset that the results depend on.
with '{"preset": "high_performance"}'
succeeds "preset" convert in.safetensors -o f.safetensors --config config.json --to i8
succeeds "no preset" convert in.safetensors -o g.safetensors --to i8 --quality fast
check "high_performance samples" cmp f.safetensors g.safetensors
with '{"preset": "high_precision"}'
succeeds "precise preset" convert in.safetensors -o k.safetensors --config config.json --to i4
succeeds "precise options" convert in.safetensors -o l.safetensors --to i4 --quality precise \
    --granularity group:128
check "high_precision looks for the best scales" cmp k.safetensors l.safetensors
with '{"preset": "low_memory"}'
succeeds "low_memory" convert in.safetensors -o h.safetensors --config config.json --to i8
succeeds "default" convert in.safetensors -o i.safetensors --to i8
check "low_memory changes no bytes" cmp h.safetensors i.safetensors

# The budget holds, and a device that is not there is reported.
with '{"memory_budget_bytes": 100000}'
fails "a small budget" budget convert in.safetensors -o x.safetensors --config config.json --to i8
with '{"device": "opencl:99"}'
fails "no such device" . convert in.safetensors -o x.safetensors --config config.json --to i8
succeeds "--device wins" convert in.safetensors -o x.safetensors --config config.json --to i8 \
    --device cpu

# Wrong files: one line that names the file and what is wrong, and no output.
rm x.safetensors
fails "no file" missing.json convert in.safetensors -o x.safetensors --to i8 --config missing.json
fails "a folder" . convert in.safetensors -o x.safetensors --to i8 --config .
with '{"n_threads": 1,'
fails "no JSON" "config.json: config: line 1" convert in.safetensors -o x.safetensors --to i8 \
    --config config.json
with '{"streaming": {"chunk_byte": 1}}'
fails "unknown key" streaming.chunk_byte: convert in.safetensors -o x.safetensors --to i8 \
    --config config.json
with '{"target": {"quality": "best"}}'
fails "wrong value" target.quality: bench --size 64KiB --config config.json
head -c 1100000 /dev/zero | tr '\0' ' ' >config.json
fails "a huge file" "more than" convert in.safetensors -o x.safetensors --to i8 --config config.json
check_not "wrong files: no output" test -e x.safetensors
with '{"n_threads": 1}'
misused "no type anywhere" convert in.safetensors -o x.safetensors --config config.json

# The file reaches the other commands that make engines.
with '{"n_threads": 1, "isa": "scalar"}'
succeeds "bench" bench --size 64KiB --repeat 1 --filter 'f32->f16' --config config.json --json
same "bench: isa" scalar "$(json results.0.isa)"

# --stats counts each tensor that was converted, once.
succeeds "stats" convert in.safetensors -o j.safetensors --to i8 --stats --json
same "stats: as many as were converted" "$(json converted)" "$(json metrics.total.n_done)"
same "stats: all of them streamed" "$(json converted)" "$(json metrics.strategies.streaming.n_done)"
same "stats: on the CPU" "$(json converted)" "$(json metrics.processors.cpu.n_done)"
same "stats: the engine says the same" "$(json engine.n_conversions)" "$(json metrics.total.n_done)"
same "stats: one pair of types" "1 f32 i8" \
    "$(json metrics.dtypes.#) $(json metrics.dtypes.0.from) $(json metrics.dtypes.0.to)"
succeeds "stats as text" convert in.safetensors -o j.safetensors --force --to i8 --stats
check "stats as text: strategy" grep -q '^strategy *streaming' out
check "stats as text: types" grep -q '^types *f32->i8' out
check "stats as text: percentiles" grep -q '99% under' out
succeeds "no stats" convert in.safetensors -o j.safetensors --force --to i8 --json
check_not "no stats unless asked for" grep -q '"metrics"' out
