# SPDX-License-Identifier: Apache-2.0
# The memory of a conversion does not depend on the size of the file.

# A sanitizer keeps memory of its own, so that only the exit statuses count then.
slack=0
size=1GiB
if grep -qE "__(asan|tsan|msan)_init" "$LATHE"; then
    skip "the resident set: the tool is built with a sanitizer"
    slack=1000000
    size=128MiB
fi

# converts MEMORY LIMIT_MIB ARGUMENT...: converts big.safetensors, and looks at the resident set.
converts() {
    local memory=$1 limit=$2
    shift 2
    "$HELPER" watch watched -- "$LATHE" convert big.safetensors -o out.safetensors --force --quiet \
        --memory "$memory" "$@" >out 2>err </dev/null
    check "--memory $memory $*: exit status" grep -q '^exit=0 ' watched
    local rss
    rss=$(sed -E 's/.*maxrss_kib=([0-9]+).*/\1/' watched)
    check "--memory $memory $*: $rss KiB resident, at most $limit MiB" \
        test "$rss" -le $(((limit + slack) * 1024))
}

free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
if [ "$free_kib" -lt $((3 << 20)) ]; then
    skip "1 GiB: less than 3 GiB of disk are free; 128 MiB will do"
    size=128MiB
fi
succeeds "synth" synth big.safetensors --size $size --quiet
converts 64MiB 96 --to bitnet158
converts 64MiB 96 --to i8 --granularity row
converts 8MiB 40 --to bitnet158
converts 8MiB 40 --to f16
converts 8MiB 40 --to i4 --granularity group:128 --row-dims 2

"$HELPER" watch watched -- "$LATHE" compare big.safetensors out.safetensors >out 2>err </dev/null
check "compare: exit status" grep -q '^exit=0 ' watched
rss=$(sed -E 's/.*maxrss_kib=([0-9]+).*/\1/' watched)
check "compare: $rss KiB resident, at most 40 MiB" test "$rss" -le $(((40 + slack) * 1024))
