# SPDX-License-Identifier: Apache-2.0
# Wrong command lines exit 2; help and version exit 0; the man page has every option.

misused "no command"
misused "unknown command" frobnicate
misused "unknown option before the command" --frobnicate
for command in convert inspect compare synth devices bench plan; do
    misused "$command with an unknown option" "$command" --frobnicate
done
for command in convert inspect compare synth; do
    misused "$command without arguments" "$command"
done
misused "convert without output" convert in --to f16
misused "convert without a type" convert in -o out.safetensors
misused "convert of two files" convert in in2 -o out.safetensors --to f16
misused "inspect of two files" inspect a b
misused "compare of one file" compare a
misused "compare of three files" compare a b c
misused "synth of two files" synth a b
misused "synth of an index" synth a.index.json
misused "devices with an argument" devices a
misused "bench with two arguments" bench a b

convert=(convert in -o made.safetensors --to i8)
for dtype in F16 float i3 "" f16x invalid; do
    misused "dtype '$dtype'" convert in -o made.safetensors --to "$dtype"
done
for granularity in rows group group: group:0 group:33 group:31 group:-32 group:32x ""; do
    misused "granularity '$granularity'" "${convert[@]}" --granularity "$granularity"
done
for size in "" x 12x 64mib -1 1.5MiB 99999999999999999999 20000000TiB 1KiB; do
    misused "memory '$size'" "${convert[@]}" --memory "$size"
done
for count in "" 0 -1 x 99999 1x; do
    misused "threads '$count'" "${convert[@]}" --threads "$count"
    misused "row-dims '$count'" "${convert[@]}" --row-dims "$count"
done
for rule in "" "a" "=i8" "a=i9" "a="; do
    misused "rule '$rule'" "${convert[@]}" --rule "$rule"
done
misused "quality" "${convert[@]}" --quality best
misused "nonfinite" "${convert[@]}" --nonfinite ignore
misused "device" "${convert[@]}" --device gpu
misused "isa" "${convert[@]}" --isa sse
misused "an option without its value" "${convert[@]}" --memory
misused "synth dtype" synth made.safetensors --dtype i8
misused "synth size" synth made.safetensors --size 1KiB
misused "synth seed" synth made.safetensors --seed x
misused "bench threads" bench --threads 1,x
misused "bench size" bench --size 1
misused "bench repeat" bench --repeat 0
check_not "nothing was written" test -e made.safetensors

lathe --version
same "version: exit status" 0 "$status"
check "version: text" grep -qE '^lathe [0-9]+\.[0-9]+\.[0-9]+$' out

lathe --help
same "help: exit status" 0 "$status"
cp out helps
for way in help -h; do
    lathe "$way"
    same "$way: exit status" 0 "$status"
    check "$way: what --help prints" cmp out helps
done
misused "a conversion to standard output" convert in.safetensors -o - --to f16
misused "synth to standard output" synth -
misused "help for what is no command" help frobnicate
misused "help for two commands" help convert inspect
for command in convert inspect compare synth devices bench plan; do
    check "help names $command" grep -q "^ *$command " helps
    lathe "$command" --help
    same "$command --help: exit status" 0 "$status"
    check "$command --help: usage" grep -q "^Usage: lathe $command" out
    cp out one_help
    lathe "$command" -h
    check "$command -h" cmp out one_help
    lathe help "$command"
    check "help $command" cmp out one_help
    check_not "$command --help: lines of at most 80 columns" grep -q '.\{81\}' out
    check_not "$command --help: no space at a line's end" grep -q ' $' out
done
options_in() { # FILE: its options, but for those of every command
    grep -oE -e '--[a-z][a-z-]+' "$1" | grep -vxE -e '--(help|usage|version)' | sort -u
}
sed 's/\\-/-/g' "$MAN_PAGE" >man_text
for option in --help --usage --version; do
    check "help has $option" grep -q -e "$option" helps
    check "man page has $option" grep -qE -e "$option([^a-z-]|\$)" man_text
done
for command in convert inspect compare synth devices bench plan; do
    check "man page has $command" grep -qi -e "^\.SH $command\$" man_text
    lathe "$command" --help
    options_in out >in_help
    awk -v title=".SH ${command^^}" '/^\.SH/ { is_in = $0 == title } is_in' man_text >section
    options_in section | { if [ "$command" = devices ]; then grep -vx -e --device; else cat; fi; } >in_section
    same "man page's options of $command" "$(cat in_help)" "$(cat in_section)"
done

# The keys of JSON; --stats has those of docs/metrics.md, and a file metadata of its own.
printed_keys() { # COMMAND ARGUMENT...
    succeeds "$1 --json" "$@" --json
    awk -v title=".SH ${1^^}" '/^\.SH/ { is_in = $0 == title } is_in' man_text >section
    for key in $(grep -o '^ *"[a-z0-9_]*":' out | tr -d ' ":' | sort -u | grep -vx format); do
        check "man page has $1's key $key" grep -qw -e "$key" section
    done
}
printed_keys synth made.safetensors --size 1MiB --threads 1
printed_keys convert made.safetensors -o codes.safetensors --to i8 --rule 'none*=keep'
printed_keys inspect codes.safetensors
printed_keys compare made.safetensors codes.safetensors
printed_keys devices --no-check
printed_keys plan --from f32 --to i8 --shape 4x4 --device cpu
