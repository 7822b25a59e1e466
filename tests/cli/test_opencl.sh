# SPDX-License-Identifier: Apache-2.0
# OpenCL devices: listing, choosing, the same bytes as the CPU, the program cache, and machines and
# builds that have none. What needs a device is skipped without one.

"$LATHE" synth in.safetensors --size 2MiB --quiet
cache=$XDG_CACHE_HOME/lathe
matrix=model.layers.0.mlp.up_proj.weight

# Selectors that are no selectors, and those that name nothing.
for device in gpu gpu0 opencl: opencl0 OPENCL cuda cpu:0 ""; do
    misused "convert to '$device'" convert in.safetensors -o x.safetensors --to f16 --device "$device"
    misused "bench on '$device'" bench --device "$device"
done
misused "program cache ''" convert in.safetensors -o x.safetensors --to f16 --program-cache ""
for device in opencl:99 opencl:nosuchdevice; do
    fails "convert to $device" . convert in.safetensors -o x.safetensors --to f16 --device $device
    fails "bench on $device" . bench --size 64KiB --repeat 1 --device $device
done
check_not "wrong selectors: no output" test -e x.safetensors

# The CPU, by any of its names, says nothing and keeps no programs.
for device in auto cpu; do
    succeeds "device $device" convert in.safetensors -o $device.safetensors --to i8 --json \
        --device $device --require-device --verbose
    same "device $device: reported" cpu "$(json device)"
    same "device $device: no fallbacks" "0 0" \
        "$(json engine.n_fallbacks) $(json engine.n_on_device)"
done
check "auto is the CPU" cmp auto.safetensors cpu.safetensors
check_not "no program cache for the CPU" test -e "$cache"

# A machine without a platform: the CPU does it in silence, and says why when asked.
mkdir vendors
real_vendors=${OCL_ICD_VENDORS-}
export OCL_ICD_VENDORS=$PWD/vendors/
succeeds "no platform" convert in.safetensors -o n.safetensors --to i8 --json --device opencl
same "no platform: device" cpu "$(json device)"
same "no platform: no fallbacks" 0 "$(json engine.n_fallbacks)"
check "no platform: the CPU's bytes" cmp n.safetensors cpu.safetensors
lathe convert in.safetensors -o n.safetensors --force --to i8 --device opencl --verbose
same "no platform, verbose: exit status" 0 "$status"
is_one_error "no platform, verbose" .
check_not "no platform, verbose: no warning" grep -q warning err
check "no platform: the summary" grep -q 'no OpenCL device' out
succeeds "no platform, quiet" convert in.safetensors -o n.safetensors --force --to i8 \
    --device opencl --quiet
same "no platform, quiet" "" "$(cat out)"
fails "no platform, required" . convert in.safetensors -o r.safetensors --to i8 --device opencl \
    --require-device
fails "no platform, opencl:0" . convert in.safetensors -o r.safetensors --to i8 --device opencl:0
check_not "no platform, required: no output" test -e r.safetensors
succeeds "no platform, devices" devices --json
same "no platform, devices: the CPU alone" "1 cpu passed" \
    "$(json devices.#) $(json devices.0.selector) $(json devices.0.self_check)"
lathe devices --verbose
same "no platform, devices --verbose" "0 lathe: there is no OpenCL device" "$status $(cat err)"
succeeds "no platform, bench" bench --device opencl --size 64KiB --repeat 1 --filter 'f32->f16' --json
same "no platform, bench: device" cpu "$(json results.0.device)"
fails "no platform, bench, required" . bench --device opencl --size 64KiB --require-device
# A vendor whose library is broken is a platform less.
echo /nonexistent/libbroken.so >vendors/broken.icd
succeeds "a broken platform" convert in.safetensors -o n.safetensors --force --to i8 --device opencl \
    --quiet
rm vendors/broken.icd
unset OCL_ICD_VENDORS
[ -z "$real_vendors" ] || export OCL_ICD_VENDORS=$real_vendors

lathe devices --no-check --json
if [ "$(json devices.#)" = 1 ]; then
    skip "there is no OpenCL device, or the build has no OpenCL"
    return 0
fi

# devices
succeeds "devices --no-check --json" devices --no-check --json
same "devices --no-check: not run" none "$(json devices.1.self_check)"
check_not "devices --no-check: no programs" test -e "$cache"
succeeds "devices --json" devices --json
same "devices: selector" opencl:0 "$(json devices.1.selector)"
same "devices: self-check" "passed null" \
    "$(json devices.1.self_check) $(json devices.1.self_check_message)"
for key in name platform driver kind; do
    check "devices: $key" test -n "$(json devices.1.$key)"
done
for key in memory_bytes max_alloc_bytes threads; do
    check "devices: $key" test "$(json devices.1.$key)" -ge 1
done
check "devices: shares_host_memory" grep -qxE 'true|false' <(json devices.1.shares_host_memory)
platform=$(json devices.1.platform)
name=$(json devices.1.name)
succeeds "devices" devices
check "devices: the CPU" grep -q '^cpu ' out
check "devices: the block" grep -qF "opencl:0" out
check "devices: the check" grep -qE '^  self-check +passed$' out
succeeds "devices --no-check" devices --no-check
check "devices --no-check: the check" grep -qE '^  self-check +-$' out

# The default program cache now has programs; the second start builds none.
check "programs are kept" test -n "$(ls "$cache")"
succeeds "a second start" convert in.safetensors -o o.safetensors --to i8 --device opencl --json
same "a second start: device" "opencl:0" "$(json device)"
same "a second start: name" "$name" "$(json device_name)"
same "a second start: isa" null "$(json isa)"
same "a second start: builds nothing" 0 "$(json engine.n_programs_built)"
check "a second start: loads" test "$(json engine.n_programs_loaded)" -ge 1
same "no fallbacks" "0 0" "$(json engine.n_fallbacks) $(json engine.n_device_errors)"
check "on the device" test "$(json engine.n_on_device)" -ge 1
same "a matrix" i8 "$(tensor_json $matrix to)"
check "i8: the CPU's bytes" cmp o.safetensors cpu.safetensors
succeeds "the summary" convert in.safetensors -o o.safetensors --force --to i8 --device opencl
check "the summary names the device" grep -qF "MB/s, opencl:0 $name, " out

# The same bytes, within the memory asked for.
for dtype in f16 bf16 i8 i4 i2 i1 bitnet158; do
    for granularity in tensor row group:96; do
        convert=(convert in.safetensors --force --to $dtype --granularity $granularity)
        "$LATHE" "${convert[@]}" -o c.safetensors --device cpu --quiet
        succeeds "$dtype $granularity" "${convert[@]}" -o o.safetensors --device opencl \
            --require-device --json
        check "$dtype $granularity: the CPU's bytes" cmp c.safetensors o.safetensors
    done
    cp c.safetensors $dtype.safetensors
    "$LATHE" convert $dtype.safetensors -o c.safetensors --force --to f32 --device cpu --quiet
    succeeds "$dtype to f32" convert $dtype.safetensors -o o.safetensors --force --to f32 \
        --device opencl --require-device --quiet
    check "$dtype to f32: the CPU's bytes" cmp c.safetensors o.safetensors
done
"$LATHE" synth long.safetensors --size 48MiB --quiet
for dtype in f16 i8; do
    "$LATHE" convert long.safetensors -o c.safetensors --force --to $dtype --quality fast --quiet
    for mib in 1 8 64; do
        succeeds "$dtype in $mib MiB" convert long.safetensors -o o.safetensors --force --to $dtype \
            --quality fast --memory ${mib}MiB --device opencl --require-device --json
        check "$dtype in $mib MiB: the CPU's bytes" cmp c.safetensors o.safetensors
        check "$dtype in $mib MiB: $(json peak_pool_bytes) bytes of buffers" \
            test "$(json peak_pool_bytes)" -le $(((mib + 2) << 20))
    done
done
"$HELPER" safetensors nan.safetensors \
    '{"weird":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}' 0000803f0000c07f0000807f000080bf
fails "nonfinite" "weird" convert nan.safetensors -o n2.safetensors --to i8 --device opencl
fails "strict" "embed_tokens" convert in.safetensors -o n2.safetensors --to f16 --strict \
    --device opencl
check_not "errors: no output" test -e n2.safetensors

# Interrupted: one line, and no file.
mkdir interrupted
for us in 60000 120000 240000; do
    "$HELPER" watch watched 2:$us -- "$LATHE" convert long.safetensors -o interrupted/o.safetensors \
        --to i8 --memory 1MiB --device opencl --quiet >out 2>err </dev/null
    if grep -q '^exit=130 ' watched; then
        is_one_error "interrupted" interrupted
    elif grep -q '^exit=0 ' watched; then
        rm interrupted/o.safetensors # it was faster
    else
        check "interrupted before the handlers" grep -q 'signal=2 ' watched
    fi
    same "interrupted: nothing is left" "" "$(ls -A interrupted)"
done

# Other names of the device.
for device in opencl:0 "opencl:$platform" "opencl:$(tr '[:lower:]' '[:upper:]' <<<"${name:0:7}")"; do
    succeeds "$device" convert in.safetensors -o o.safetensors --force --to i8 --device "$device" --json
    same "$device: reported" opencl:0 "$(json device)"
    check "$device: the CPU's bytes" cmp o.safetensors cpu.safetensors
done

# --program-cache, and the folders that the default looks at.
convert=(convert in.safetensors -o o.safetensors --force --quiet --to f16 --device opencl --require-device)
mkdir xdg home
XDG_CACHE_HOME=$PWD/xdg succeeds "cache none" "${convert[@]}" --program-cache none
same "cache none: no files" "" "$(ls xdg)"
XDG_CACHE_HOME=$PWD/xdg succeeds "cache DIR" "${convert[@]}" --program-cache made/here
check "cache DIR: files" test -n "$(ls made/here)"
same "cache DIR: nowhere else" "" "$(ls xdg)"
XDG_CACHE_HOME=$PWD/xdg succeeds "XDG_CACHE_HOME" "${convert[@]}"
check "XDG_CACHE_HOME: files" test -n "$(ls xdg/lathe)"
XDG_CACHE_HOME=relative HOME=$PWD/home succeeds "XDG_CACHE_HOME must be absolute" "${convert[@]}"
check "HOME: files" test -n "$(ls home/.cache/lathe)"
check_not "a relative XDG_CACHE_HOME is not used" test -e relative
XDG_CACHE_HOME="" HOME="" succeeds "neither" "${convert[@]}"
: >file
succeeds "a cache that cannot be" "${convert[@]}" --program-cache file/below

# bench
succeeds "bench" bench --device opencl --size 1MiB --repeat 2 --filter f32 --json
n=$(json results.#)
names=$(for ((i = 0; i < n; i++)); do json results.$i.name; done)
f16=$(($(grep -nxF 'f32->f16' <<<"$names" | cut -d: -f1) - 1)) # the row of F32 to F16
for row in f32-\>f16 f32-\>i8/{tensor,row,group:128} bitnet158-\>f32/tensor "stats absmax f32" \
    "stats abssum f32" "stream pinned f32->f16" "stream pageable f32->f16"; do
    check "bench: row $row" grep -qxF -e "$row" <<<"$names"
done
same "bench: device" "opencl:0 opencl:0" "$(json device) $(json results.$f16.device)"
same "bench: elements and bytes" "262144 $((262144 * 6))" \
    "$(json results.$f16.elements) $(json results.$f16.bytes)"
same "bench: the copy" "device copy" "$(json results.$f16.copy)"
for key in gbps copy_gbps ratio seconds; do
    check "bench: $key" grep -qE '^[0-9]+\.?[0-9]*(e-?[0-9]+)?$' <(json results.$f16.$key)
done
same "bench: start loads its program" "1 0" \
    "$(json start.engine.n_programs_loaded) $(json start.engine.n_programs_built)"
succeeds "bench: one row" bench --device opencl --size 1MiB --repeat 1 --filter 'stream pageable f32->f16'
check "bench: the table's head" \
    grep -qE '^conversion +device +isa +threads +size +GB/s +copy GB/s +ratio +limit +copy$' out
check "bench: which device it is" grep -qE '^opencl:0: ' out
check "bench: the table's row" grep -qE '^stream pageable f32->f16 .* pinned write$' out
check "bench: the table's other copy" grep -qE ' pageable write$' out
same "bench: lines" 6 "$(wc -l <out)"

# Two devices of POCL.
if grep -qi 'portable computing' <<<"$platform" && [ -z "${POCL_DEVICES-}" ]; then
    export POCL_DEVICES="pthread pthread"
    succeeds "two devices" devices --no-check --json
    same "two devices: listed" "3 opencl:1" "$(json devices.#) $(json devices.2.selector)"
    succeeds "the second" convert in.safetensors -o o.safetensors --force --to i8 --device opencl:1 --json
    same "the second: reported" opencl:1 "$(json device)"
    check "the second: the CPU's bytes" cmp o.safetensors cpu.safetensors
    unset POCL_DEVICES
fi
