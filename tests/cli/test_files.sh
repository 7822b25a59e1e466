# SPDX-License-Identifier: Apache-2.0
# Inputs that are no files, outputs that cannot be, and standard streams that are closed or full.

"$LATHE" synth in.safetensors --size 1MiB --quiet
mkdir folder
mkfifo fifo
: >empty
printf 'not a checkpoint at all' >garbage
ln -s nowhere dangling
ln -s none/a.safetensors lost

# Every command that reads refuses in one line, without waiting for a writer of the FIFO.
for input in none.safetensors folder fifo empty garbage dangling in.safetensors/x /dev/null ""; do
    for command in "inspect" "convert -o made.safetensors --to f16" "compare in.safetensors"; do
        status=0
        # shellcheck disable=SC2086
        timeout 20 "$LATHE" $command "$input" >out 2>err </dev/null || status=$?
        same "'$input': $command: exit status" 1 "$status"
        is_one_error "'$input': $command" ""
        same "'$input': $command: stdout" "" "$(cat out)"
    done
done
check_not "no output" test -e made.safetensors

cp in.safetensors secret.safetensors
chmod 000 secret.safetensors
if [ "$(id -u)" -ne 0 ]; then
    fails "unreadable" "secret" inspect secret.safetensors
    mkdir locked && chmod 555 locked
    fails "a folder that cannot be written" "locked" \
        convert in.safetensors -o locked/a.safetensors --to f16
elif command -v setpriv >/dev/null; then
    chmod 755 . .. && chmod 644 in.safetensors
    status=0
    setpriv --reuid=65534 --regid=65534 --clear-groups "$LATHE" inspect secret.safetensors \
        >out 2>err || status=$?
    if grep -q 'setpriv' err || [ $status -gt 2 ]; then
        skip "unreadable file: the tool cannot be run as nobody"
    else
        same "unreadable: exit status" 1 "$status"
        is_one_error "unreadable" "secret"
    fi
else
    skip "unreadable file: running as root"
fi

# Outputs.
fails "output in no folder" 'there is no folder "none/"' \
    convert in.safetensors -o none/a.safetensors --to f16
fails "output without a name" "none/: ends in a slash" convert in.safetensors -o none/ --to f16
fails "output is a folder" "folder: is a folder" convert in.safetensors -o folder --to f16
fails "output is a folder, with a slash" "folder/: is a folder" \
    convert in.safetensors -o folder/ --to f16
fails "output in a file" "in.safetensors/x: cannot look at it" \
    convert in.safetensors -o in.safetensors/x --to f16
fails "output is a FIFO" "fifo: is there and is not a regular file" \
    convert in.safetensors -o fifo --to f16 --force
fails "output leads to no folder" 'there is no folder "none/"' convert in.safetensors -o lost --to f16
fails "output is a folder, by force" "folder" convert in.safetensors -o folder --to f16 --force
fails "output is empty" "." convert in.safetensors -o "" --to f16
check "the folder is still there" test -d folder
name=$(printf 'n%.0s' {1..250}).safetensors
fails "output has too long a name" "." convert in.safetensors -o "$name" --to f16

# A process that may open few files reads and writes many.
"$LATHE" convert in.safetensors -o in-parts.safetensors --to keep --shard-size 64 --quiet
check "many shards" test "$(ls in-parts-*.safetensors | wc -l)" -gt 8
status=0
(
    ulimit -n 12
    exec "$LATHE" convert in-parts.safetensors.index.json -o few.safetensors.index.json --to f16 \
        --device cpu --quiet >out 2>err </dev/null
) || status=$?
same "few open files: exit status" 0 "$status"
succeeds "many open files" convert in-parts.safetensors.index.json -o all.safetensors.index.json \
    --to f16 --device cpu --quiet
for shard in few-*.safetensors; do
    check "few open files: $shard" cmp "$shard" "all${shard#few}"
done
rm all-00002-of-*.safetensors
fails "a shard that is not there" 'all.safetensors.index.json: its shard "all-00002-of-.*" is not' \
    inspect all.safetensors.index.json

# Standard streams. The conversion is complete before its summary fails.
if [ -w /dev/full ]; then
    for command in "inspect in.safetensors" "inspect in.safetensors --json" "devices --no-check" "--help" \
        "convert in.safetensors -o full.safetensors --to f16 --force" "convert --help" \
        "convert in.safetensors -o full.safetensors --to f16 --force --json" \
        "compare in.safetensors in.safetensors" "synth s.safetensors --size 64KiB --force" \
        "bench --size 64KiB --repeat 1 --filter f32->f16"; do
        status=0
        # shellcheck disable=SC2086
        "$LATHE" $command >/dev/full 2>err </dev/null || status=$?
        same "full stdout: $command: exit status" 1 "$status"
        is_one_error "full stdout: $command" "standard output"
    done
else
    skip "full stdout: there is no /dev/full"
fi
status=0
"$LATHE" convert in.safetensors -o closed.safetensors --to f16 >&- 2>err </dev/null || status=$?
same "closed stdout: exit status" 1 "$status"
is_one_error "closed stdout" "standard output"
lathe convert in.safetensors -o open.safetensors --to f16
check "closed stdout: the file is sound" cmp open.safetensors closed.safetensors
status=0
"$LATHE" convert in.safetensors -o quiet.safetensors --to f16 --quiet >&- 2>&- <&- || status=$?
same "all streams closed, quiet: exit status" 0 "$status"
check "all streams closed: the file is sound" cmp open.safetensors quiet.safetensors

# Names in files are data: control characters do not reach the terminal.
"$HELPER" safetensors evil.safetensors \
    '{"a\u001b[31m\nb":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}' 0000c07f
succeeds "evil names" inspect evil.safetensors --tensors
check_not "evil names: no escapes on stdout" grep -q "$(printf '\033')" out
fails "evil names in errors" "a" convert evil.safetensors -o e.safetensors --to i8
check_not "evil names: no escapes on stderr" grep -q "$(printf '\033')" err
