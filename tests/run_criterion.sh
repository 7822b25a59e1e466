#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a Criterion program and fails where Criterion itself would not: when LeakSanitizer reported a
# leak, and when no test ran at all.
# Usage: run_criterion.sh PROGRAM [ARGUMENT...]
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
# The leak check stops the other threads to read their memory, and sometimes dies of one that is just
# ending: that says nothing, and is done again, once.
for _ in 1 2; do
    "$@" >"$log" 2>&1
    status=$?
    cat "$log"
    grep -q 'LeakSanitizer has encountered a fatal error' "$log" || break
done
if [ "$status" -ne 0 ]; then
    exit "$status"
fi
if grep -q -e LeakSanitizer -e 'runtime error:' "$log"; then
    echo "run_criterion: a sanitizer complained" >&2
    exit 1
fi
if ! grep -q 'Tested: [^0 ]*[1-9]' "$log"; then
    echo "run_criterion: no test ran" >&2
    exit 1
fi
