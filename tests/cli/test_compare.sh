# SPDX-License-Identifier: Apache-2.0
# compare: known errors, every layout, and files that do not match.

shape='{"w":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]}}'
# a = 1 2 3 4, b = 1 2 3 2: mse 1, sqnr 10 log10(30/4) = 8.7506, cosine 22/sqrt(30*18) = 0.946729
"$HELPER" safetensors a.safetensors "$shape" 0000803f000000400000404000008040
"$HELPER" safetensors b.safetensors "$shape" 0000803f000000400000404000000040
succeeds "known" compare a.safetensors b.safetensors --json
same "mse" 1.0 "$(tensor_json w mse)"
same "max_abs" 2.0 "$(tensor_json w max_abs)"
same "sqnr_db" 8.7506 "$(tensor_json w sqnr_db | cut -c1-6)"
same "cosine" 0.94672 "$(tensor_json w cosine | cut -c1-7)"
same "not identical" false "$(json total.identical)"
succeeds "table" compare a.safetensors b.safetensors
cat >expected <<'END'
tensor  A    B    mse  sqnr dB  max abs      cosine
w       f32  f32    1     8.75        2  0.94672926
total               1     8.75        2  0.94672926
END
check "table: text" diff expected out
succeeds "itself" compare a.safetensors a.safetensors --json
same "itself: identical" "true null" "$(json total.identical) $(json total.sqnr_db)"

# NaN and infinity: equal ones are no difference, others are counted.
"$HELPER" safetensors c.safetensors "$shape" 0000c07f0000807f0000404000008040
succeeds "nonfinite on both sides" compare c.safetensors c.safetensors --json
same "nonfinite on both sides: none counted" "0 true" \
    "$(json total.n_nonfinite) $(json total.identical)"
succeeds "nonfinite on one side" compare a.safetensors c.safetensors --json
same "nonfinite on one side: counted" "2 false" \
    "$(json total.n_nonfinite) $(json total.identical)"

# Files that do not match.
"$HELPER" safetensors d.safetensors \
    '{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}' 0000803f000000400000404000008040
fails "shapes" "'w'" compare a.safetensors d.safetensors
"$HELPER" safetensors e.safetensors \
    '{"w":{"dtype":"F32","shape":[1,4],"data_offsets":[0,16]},"v":{"dtype":"U8","shape":[1],"data_offsets":[16,17]}}' \
    0000803f00000040000040400000804007
fails "missing on the left" "'v'.*'a.safetensors'" compare a.safetensors e.safetensors
fails "missing on the right" "'v'.*'a.safetensors'" compare e.safetensors a.safetensors
succeeds "integers" compare e.safetensors e.safetensors --json
same "integers: same bytes" true "$(tensor_json v identical)"
fails "no such file" "none.safetensors" compare a.safetensors none.safetensors

# Every layout decodes as convert does it; --row-dims 2 makes rows longer than compare's buffers.
"$LATHE" synth in.safetensors --size 16MiB --quiet
for dtype in i8 i4 i2 i1 bitnet158; do
    for granularity in "tensor" "row" "group:96" "row --row-dims 2" "group:32 --row-dims 2" \
        "group:1048576 --row-dims 2" "tensor --row-dims 2"; do
        # shellcheck disable=SC2086
        succeeds "$dtype $granularity" convert in.safetensors -o q.safetensors --force --quiet \
            --to $dtype --granularity $granularity
        succeeds "$dtype $granularity: back" convert q.safetensors -o f.safetensors --force --quiet \
            --to f32
        succeeds "$dtype $granularity: compare" compare q.safetensors f.safetensors --json
        same "$dtype $granularity: identical" true "$(json total.identical)"
    done
done
