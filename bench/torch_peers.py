#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times what a PyTorch user would write in place of Lathe's conversions, on the first CUDA device.

Prints a markdown table. Every repetition times the operation and, beside it, copy_ moving the same
number of bytes (reads and writes); figures are medians, the ratio that of the repetitions' own
ratios. Bytes are those of the operand and of the result, each counted once, whatever the operation
moves besides. Without PyTorch or a CUDA device it says so and exits 0.
"""

import argparse
import re
import statistics
import sys

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS.update({unit: 1 << 10 * (i + 1) for i, unit in enumerate("KMGT")})
UNITS.update({unit + "iB": 1 << 10 * (i + 1) for i, unit in enumerate("KMGT")})

WARM_UPS = 3


def parse_size(text):
    match = re.fullmatch(r"(\d+)([A-Za-z]*)", text)
    if match is None or match.group(2) not in UNITS:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 1GiB")
    return int(match.group(1)) * UNITS[match.group(2)]


def parse_arguments():
    parser = argparse.ArgumentParser(description="Time PyTorch's conversions on a CUDA device.")
    parser.add_argument("--size", type=parse_size, default=1 << 30, help="bytes of F32 (1GiB)")
    parser.add_argument("--repeat", type=int, default=9, help="repetitions (9)")
    return parser.parse_args()


def leave_out(reason):
    print(f"torch_peers: {reason}; PyTorch's rows are left out", file=sys.stderr)
    sys.exit(0)


def import_torch():
    try:
        import torch
    except ImportError as error:
        leave_out(f"PyTorch cannot be imported ({error})")
    if not torch.cuda.is_available():
        leave_out("PyTorch sees no CUDA device")
    return torch


def int8_by_hand(torch, x):
    scale = x.abs().max() / 127
    return torch.clamp(torch.round(x * (1 / scale)), -127, 127).to(torch.int8)


def operations(torch):
    """(name, what it is called with the F32 tensor, bytes of a result for each element)"""
    return [
        (".to(torch.float16)", lambda x: x.to(torch.float16), 2),
        (".to(torch.bfloat16)", lambda x: x.to(torch.bfloat16), 2),
        (".to(torch.int8)", lambda x: x.to(torch.int8), 1),
        ("x.abs().max()", lambda x: x.abs().max(), 0),
        ("torch.aminmax(x)", torch.aminmax, 0),
        (
            "torch.quantize_per_tensor, scale given",
            lambda x: torch.quantize_per_tensor(x, 0.05, 0, torch.qint8),
            1,
        ),
        ("absmax, multiply, round, clamp, .to(torch.int8)", lambda x: int8_by_hand(torch, x), 1),
    ]


def time_once(torch, function):
    """Seconds on the device."""
    begin = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3


def measure(torch, function, n_bytes, n_repeats):
    """(seconds, seconds of copy_, ratio): medians."""
    source = torch.ones(n_bytes // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)

    def copy():
        target.copy_(source)

    for _ in range(WARM_UPS):
        function()
        copy()
    times, copies = [], []
    for i in range(n_repeats):
        for turn in range(2):
            if (i + turn) % 2 == 0:
                copies.append(time_once(torch, copy))
            else:
                times.append(time_once(torch, function))
    ratios = [copy_time / time for time, copy_time in zip(times, copies)]
    return statistics.median(times), statistics.median(copies), statistics.median(ratios)


def first_line(error):
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__


def main():
    arguments = parse_arguments()
    torch = import_torch()
    n = arguments.size // 4
    x = torch.randn(n, dtype=torch.float32, device="cuda")
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}, {n} elements of F32")
    print()
    print("| PyTorch | GB/s | copy_ GB/s | ratio |")
    print("|---|---|---|---|")
    for name, function, result_bytes in operations(torch):
        n_bytes = n * (4 + result_bytes)
        try:
            seconds, copy_seconds, ratio = measure(
                torch, lambda: function(x), n_bytes, arguments.repeat
            )
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            print(f"| {name} | not supported on CUDA: {first_line(error)} | | |", flush=True)
            continue
        print(
            f"| {name} | {n_bytes / seconds * 1e-9:.2f} | {n_bytes / copy_seconds * 1e-9:.2f} "
            f"| {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
