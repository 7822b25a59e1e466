#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copies to each of two folders what the other one has and it lacks, or has in an older version.
# Usage: merge_folders.sh FOLDER FOLDER
set -eu
cp -R -p -u "$1/." "$2/"
cp -R -p -u "$2/." "$1/"
