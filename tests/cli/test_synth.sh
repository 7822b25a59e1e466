# SPDX-License-Identifier: Apache-2.0
# synth: the same bytes everywhere, sizes just below the limit, and every option.

succeeds "default" synth a.safetensors --size 64KiB
check "a line for a person" grep -q '^a.safetensors: 12 tensors' out
same "the data are the same on every machine" a6379a8ef78fc130 \
    "$(tail -c 63104 a.safetensors | sha256sum | cut -c1-16)"
succeeds "one thread" synth b.safetensors --size 64KiB --threads 1 --quiet
same "quiet" "" "$(cat out)"
check "threads do not change the bytes" cmp a.safetensors b.safetensors
succeeds "seed" synth c.safetensors --size 64KiB --seed 1 --json
same "json: seed" 1 "$(json seed)"
same "json: bytes" "$((4 * $(json elements)))" "$(json bytes)"
check_not "the seed changes the bytes" cmp a.safetensors c.safetensors

for dtype in f32 f16 bf16; do
    for size in 64KiB 100KB 1MiB 5MiB 48MiB; do
        case $size in
        64KiB) bytes=65536 ;;
        100KB) bytes=100000 ;;
        1MiB) bytes=1048576 ;;
        5MiB) bytes=5242880 ;;
        48MiB) bytes=50331648 ;;
        esac
        succeeds "$dtype $size" synth s.safetensors --force --size $size --dtype $dtype
        made=$(stat -c %s s.safetensors)
        check "$dtype $size: not above the limit" test "$made" -le "$bytes"
        check "$dtype $size: close to it" test "$made" -ge $((bytes - bytes / 16 - 4096))
        succeeds "$dtype $size: inspect" inspect s.safetensors --json
        same "$dtype $size: one type" "$dtype 1" "$(json types.0.dtype) $(json types.#)"
    done
done

# Many chunks and threads, and the narrow types are conversions of the wide one.
succeeds "wide" synth f32.safetensors --size 32MiB --threads 3
succeeds "again" synth again.safetensors --size 32MiB --threads 1
check "chunks on threads" cmp f32.safetensors again.safetensors

fails "exists" "a.safetensors" synth a.safetensors --size 64KiB
succeeds "force" synth a.safetensors --size 128KiB --force
check "force replaces" test "$(stat -c %s a.safetensors)" -gt 65536
fails "no such folder" "." synth none/a.safetensors --size 64KiB
mkdir folder
fails "a folder" "folder" synth folder --size 64KiB --force
