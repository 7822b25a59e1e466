#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a program without address-space randomisation where the system allows that: older thread
# sanitizers cannot place their shadow memory on kernels that randomise widely.
# Usage: run_stress.sh PROGRAM [ARGUMENT...]
if setarch "$(uname -m)" -R true 2>/dev/null; then
    exec setarch "$(uname -m)" -R "$@"
fi
exec "$@"
