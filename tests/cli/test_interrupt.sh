# SPDX-License-Identifier: Apache-2.0
# Killed, interrupted, or out of space at any moment: no file under the final name, the input intact.

watch_field() {
    sed -E "s/.*\\b$1=(-?[0-9]+).*/\\1/" ../watched
}

# watched SIGNALS... -- COMMAND...: runs the tool under the watcher; report in ../watched.
watched() {
    "$HELPER" watch ../watched "$@" >../out 2>../err </dev/null
    cp ../err ../err_of_watched
}

mkdir folder
cd folder || exit 1
"$LATHE" synth in.safetensors --size 96MiB --quiet
input_hash=$(hash_of in.safetensors)
convert=("$LATHE" convert in.safetensors -o out.safetensors --to bitnet158 --memory 2MiB --threads 2)

# The shortest of three, so that the moments lie inside a run.
duration=999999999
for _ in 1 2 3; do
    watched -- "${convert[@]}"
    same "undisturbed: exit status" 0 "$(watch_field exit)"
    us=$(watch_field us)
    duration=$((us < duration ? us : duration))
    whole_hash=$(hash_of out.safetensors)
    rm out.safetensors
done

has_unnamed=true
"$HELPER" unnamed . 2>/dev/null || has_unnamed=false
$has_unnamed || skip "nothing is left by kill -9: the file system has no files without names"

# kill -9 at moments spread over the whole run. A file under the final name must be the whole one.
n_moments=24
n_killed=0
for ((i = 0; i < n_moments; i++)); do
    watched 9:$((duration * i / n_moments)) -- "${convert[@]}"
    if [ "$(watch_field signal)" = 9 ]; then
        n_killed=$((n_killed + 1))
    fi
    if [ -e out.safetensors ]; then
        same "kill -9 at $i/$n_moments: a whole file" "$whole_hash" "$(hash_of out.safetensors)"
        rm out.safetensors
    fi
    if $has_unnamed; then
        folder_has "kill -9 at $i/$n_moments" in.safetensors
    fi
    find . -type f ! -name in.safetensors -delete
done
check "kill -9 met the conversion at work ($n_killed of $n_moments)" test $n_killed -ge 4
same "kill -9: the input" "$input_hash" "$(hash_of in.safetensors)"

# kill -9 with in == out: the name holds the old file or the new one, nothing else.
cp in.safetensors self.safetensors
for ((i = 0; i < 8; i++)); do
    watched 9:$((duration * (i + 1) / 8)) -- "$LATHE" convert self.safetensors -o self.safetensors \
        --to bitnet158 --memory 2MiB --threads 2 --force --quiet
    hash=$(hash_of self.safetensors)
    if [ "$hash" != "$input_hash" ]; then
        same "kill -9 with in == out" "$whole_hash" "$hash"
        cp in.safetensors self.safetensors
    else
        record "kill -9 with in == out" 0
    fi
done
find . -type f ! -name in.safetensors -delete

# Signals that can be caught: the exit status names them, one line, and nothing is left.
interrupted=0
for signal in 2 15 1; do
    for ((i = 1; i <= 4; i++)); do
        watched $signal:$((duration * i / 8)) -- "${convert[@]}"
        if [ "$(watch_field exit)" = 0 ]; then
            rm -f out.safetensors # it was faster
            continue
        fi
        if [ "$(watch_field signal)" = $signal ]; then
            folder_has "signal $signal before the handlers" in.safetensors
            continue
        fi
        interrupted=$((interrupted + 1))
        same "signal $signal: exit status" $((128 + signal)) "$(watch_field exit)"
        same "signal $signal: stderr" 1 "$(wc -l <../err)"
        folder_has "signal $signal" in.safetensors
    done
done
check "signals met the conversion at work" test $interrupted -ge 3

# A second Ctrl-C, and a third, change nothing.
half=$((duration / 3))
for ((i = 1; i <= 5; i++)); do
    watched 2:$half 2:$((half + 200)) 2:$((half + 400)) 15:$((half + 600)) -- "${convert[@]}"
    [ "$(watch_field signal)" = 0 ] && break
    folder_has "many signals before the handlers" in.safetensors # a slow start
    half=$((half * 2))
done
check "many signals: exit status" grep -qE '^exit=(0|130|143) signal=0 ' ../watched
if [ "$(watch_field exit)" != 0 ]; then
    folder_has "many signals" in.safetensors
fi
rm -f out.safetensors

# Shards: killed at any moment, an index means that all of them are there; interrupted, nothing is left.
shards=("$LATHE" convert in.safetensors -o s.safetensors --to bitnet158 --shard-size 1MiB --memory 2MiB)
"${shards[@]}" --quiet
n_shards=$(ls s-*.safetensors | wc -l)
check "several shards" test "$n_shards" -ge 3
shards_hash=$(cat s-*.safetensors | sha256sum)
rm s-* s.*
for ((i = 1; i <= 8; i++)); do
    watched 9:$((duration * i / 8)) -- "${shards[@]}"
    if [ -e s.safetensors.index.json ]; then
        same "kill -9: all shards with the index" "$shards_hash" "$(cat s-*.safetensors | sha256sum)"
    fi
    find . -type f ! -name in.safetensors -delete
    watched 2:$((duration * i / 8)) -- "${shards[@]}"
    if [ "$(watch_field exit)" = 130 ]; then
        folder_has "interrupted shards" in.safetensors
    fi
    find . -type f ! -name in.safetensors -delete
done
"${shards[@]}" --shard-size 160KiB --quiet
shards_hash=$(cat s-*.safetensors s.safetensors.index.json | sha256sum)
rm s-* s.*
# As few as the tool starts with: the loader needs one beside those that are open already.
least=4
until [ $least -ge 64 ] || (ulimit -n $least && exec "$LATHE" --version) >../out 2>&1; do
    least=$((least + 1))
done
(
    ulimit -n $((least + 8))
    exec "${shards[@]}" --shard-size 160KiB --quiet
) 2>../err
same "few open files: the same bytes" "$shards_hash" \
    "$(cat s-*.safetensors s.safetensors.index.json | sha256sum)"
rm s-* s.*
status=0
(
    ulimit -n $least
    exec "${shards[@]}" --shard-size 160KiB --quiet
) >../out 2>../err || status=$?
cp ../err err && same "too few open files: exit status" 1 "$status"
is_one_error "too few open files" "Too many open files"
rm err
folder_has "too few open files" in.safetensors

# So many shards that they are not all open at once: more of them than the process may open.
header="{" hex=""
for ((i = 0; i < 150; i++)); do
    header+="\"t$i\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[$((8 * i)),$((8 * i + 8))]},"
    hex+=$(printf '0000803f%02x%02x0040' $i $((i * 7 % 256)))
done
"$HELPER" safetensors many.safetensors "${header%,}}" "$hex"
many=("$LATHE" convert many.safetensors -o s.safetensors --to bf16 --shard-size 1 --quiet)
"${many[@]}"
shards_hash=$(cat s-*.safetensors s.safetensors.index.json | sha256sum)
same "more shards than open files: shards" 150 "$(ls s-*.safetensors | wc -l)"
rm s-* s.*
(
    ulimit -n 24
    exec "${many[@]}"
) 2>../err
same "more shards than open files: the same bytes" "$shards_hash" \
    "$(cat s-*.safetensors s.safetensors.index.json | sha256sum)"
(
    ulimit -n 100
    exec "$LATHE" convert s.safetensors.index.json -o joined.safetensors --to keep --quiet
) 2>../err
"$LATHE" convert many.safetensors -o single.safetensors --to bf16 --quiet
check "more shards than open files: joined" cmp joined.safetensors single.safetensors
rm s-* s.* joined.safetensors single.safetensors
for ((i = 1; i <= 4; i++)); do
    watched 2:$((i * 8000)) -- "${many[@]}"
    if [ "$(watch_field exit)" = 130 ]; then
        folder_has "interrupted among many shards" in.safetensors many.safetensors
    fi
    rm -f s-* s.*
done
rm many.safetensors

# An output that exists stays what it was.
echo old >out.safetensors
watched 2:$half -- "${convert[@]}" --force
if [ "$(watch_field exit)" = 130 ]; then
    same "interrupted with --force: the old file" old "$(cat out.safetensors)"
fi
rm -f out.safetensors

# synth cleans up too.
watched 2:60000 -- "$LATHE" synth s.safetensors --size 512MiB
check "interrupted synth: exit status" grep -qE "^exit=(130 signal=0|-1 signal=2) " ../watched
folder_has "interrupted synth" in.safetensors

# The limit on file sizes stands in for a full disk everywhere.
status=0
(
    ulimit -f 1024 # in KiB
    exec "${convert[@]}" --quiet
) >../out 2>../err || status=$?
cp ../err err && same "file size limit: exit status" 1 "$status"
is_one_error "file size limit" "out.safetensors"
rm err
folder_has "file size limit" in.safetensors
status=0
(
    ulimit -f 1024
    exec "$LATHE" synth s.safetensors --size 4MiB --quiet
) >../out 2>../err || status=$?
same "file size limit for synth: exit status" 1 "$status"
folder_has "file size limit for synth" in.safetensors
same "the input" "$input_hash" "$(hash_of in.safetensors)"

# A real full disk.
mkdir ../disk
if mount -t tmpfs -o size=2m none ../disk 2>/dev/null; then
    cd ../disk || exit 1
    lathe_status=0
    "$LATHE" convert ../folder/in.safetensors -o out.safetensors --to bitnet158 >../out 2>../err ||
        lathe_status=$?
    same "full disk: exit status" 1 "$lathe_status"
    same "full disk: lines on stderr" 1 "$(wc -l <../err)"
    check "full disk: the reason" grep -qi 'space' ../err
    same "full disk: nothing is left" "" "$(ls -A)"
    cd ../folder || exit 1
    umount ../disk
else
    skip "full disk: no tmpfs can be mounted here"
fi
same "full disk: the input" "$input_hash" "$(hash_of in.safetensors)"
cd .. || exit 1
