# SPDX-License-Identifier: Apache-2.0
# What every test of the tool uses: runs it, and checks what it did.
#
# A test is a file test_*.sh that run.sh sources in a fresh folder. $LATHE is the tool, $HELPER the helper.

n_checks=0
n_failed=0

# Counts a check: pass LABEL STATUS.
record() {
    n_checks=$((n_checks + 1))
    if [ "$2" -ne 0 ]; then
        n_failed=$((n_failed + 1))
        echo "FAIL $test_name: $1"
        [ -s err ] && sed 's/^/    stderr: /' err | head -5
        return 0
    fi
}

# check LABEL COMMAND...: the command succeeds.
check() {
    local label=$1
    shift
    if "$@" >/dev/null 2>&1; then record "$label" 0; else record "$label" 1; fi
}

# check_not LABEL COMMAND...: the command fails.
check_not() {
    local label=$1
    shift
    if "$@" >/dev/null 2>&1; then record "$label" 1; else record "$label" 0; fi
}

# same LABEL EXPECTED ACTUAL
same() {
    if [ "$2" = "$3" ]; then
        record "$1" 0
    else
        record "$1: expected '$2', got '$3'" 1
    fi
}

# lathe ARGUMENT...: runs the tool; out and err hold its output, $status its exit status.
lathe() {
    status=0
    "$LATHE" "$@" >out 2>err </dev/null || status=$?
}

# succeeds LABEL ARGUMENT...: exit status 0 and nothing on stderr.
succeeds() {
    local label=$1
    shift
    lathe "$@"
    same "$label: exit status" 0 "$status"
    same "$label: stderr" "" "$(cat err)"
}

# fails LABEL TEXT ARGUMENT...: exit status 1, nothing on stdout, one line on stderr that contains TEXT.
fails() {
    local label=$1 text=$2
    shift 2
    lathe "$@"
    same "$label: exit status" 1 "$status"
    is_one_error "$label" "$text"
    same "$label: stdout" "" "$(cat out)"
}

# is_one_error LABEL TEXT: err is one line, "lathe: ... TEXT ...".
is_one_error() {
    same "$1: lines on stderr" 1 "$(wc -l <err)"
    check "$1: '$2' on stderr" grep -q -e "^lathe: .*$2" err
}

# misused LABEL ARGUMENT...: exit status 2, nothing on stdout, a message on stderr.
misused() {
    local label=$1
    shift
    lathe "$@"
    same "$label: exit status" 2 "$status"
    same "$label: stdout" "" "$(cat out)"
    check "$label: a message" test -s err
}

# json PATH: what the path leads to in out.
json() {
    "$HELPER" json out "$1"
}

# tensor_json NAME KEY: the key of the tensor of that name in out.
tensor_json() {
    local n i
    n=$("$HELPER" json out tensors.#)
    for ((i = 0; i < n; i++)); do
        if [ "$("$HELPER" json out "tensors.$i.name")" = "$1" ]; then
            "$HELPER" json out "tensors.$i.$2"
            return
        fi
    done
    echo "(no tensor $1)"
}

hash_of() {
    sha256sum <"$1" | cut -d' ' -f1
}

# folder_has LABEL NAME...: the current folder has these files and no other.
folder_has() {
    local label=$1
    shift
    same "$label: files" "$(printf '%s\n' "$@" | LC_ALL=C sort)" "$(LC_ALL=C ls -A)"
}

skip() {
    echo "skip $test_name: $1"
}
