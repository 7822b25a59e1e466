#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of the tool: run.sh LATHE HELPER_FOLDER [TEST...]
#
# HELPER_FOLDER holds cli_helper; if it does not, the helper is compiled. TEST is a name such as convert
# (all by default). Exit status: 0 if every check passed.

set -u
if [ $# -lt 2 ]; then
    echo "usage: $0 LATHE HELPER_FOLDER [TEST...]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
LATHE=$(realpath "$1")
HELPER=$(realpath -m "$2/cli_helper")
MAN_PAGE=$here/../../docs/lathe.1
shift 2

work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-cli.XXXXXX")
trap 'umount "$work"/*/disk 2>/dev/null; rm -rf "$work"' EXIT
if [ ! -x "$HELPER" ]; then
    HELPER=$work/cli_helper
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 "$here/cli_helper.c" -o "$HELPER" -ljansson || exit 1
fi
export LC_ALL=C
if ! "$LATHE" --version >/dev/null; then
    echo "$LATHE does not run" >&2
    exit 1
fi
unset POSIXLY_CORRECT
# Compiled programs stay out of the user's folders, and out of those of tests that run beside this;
# LATHE_TEST_POCL names a folder that POCL has filled already, and that nobody else uses meanwhile.
export XDG_CACHE_HOME=$work/cache POCL_CACHE_DIR=${LATHE_TEST_POCL:-$work/pocl}
mkdir -p "$POCL_CACHE_DIR"
export LSAN_OPTIONS=suppressions=$here/../opencl_lsan.supp:print_suppressions=0

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    for file in "$here"/test_*.sh; do
        name=$(basename "$file" .sh)
        tests+=("${name#test_}")
    done
fi

failed=0
for test_name in "${tests[@]}"; do
    mkdir -p "$work/$test_name"
    start=$SECONDS
    if (
        cd "$work/$test_name" || exit 1
        . "$here/lib.sh"
        . "$here/test_$test_name.sh"
        echo "$n_checks" >"$work/checks"
        [ "$n_failed" -eq 0 ] && [ "$n_checks" -gt 0 ]
    ); then
        echo "ok   $test_name: $(cat "$work/checks") checks, $((SECONDS - start)) s"
    else
        echo "FAIL $test_name"
        failed=1
    fi
    rm -rf "${work:?}/$test_name"
done
exit $failed
