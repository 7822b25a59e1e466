#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times what a Python user would write in place of Lathe's conversions: numpy's and PyTorch's.

Prints a markdown table for each library and device. Every repetition times the operation and,
beside it, a copy by the same library of the same number of bytes (reads and writes); figures are
medians, the ratio that of the repetitions' own ratios. Bytes are those of the operand and of the
result, each counted once, whatever the operation moves besides. "into" rows write to a result that
exists already, as Lathe's bench does; the others make a new one. What is not installed is named on
standard error and left out; the exit status is 0 all the same.
"""

import argparse
import re
import statistics
import sys
import time

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
    parser = argparse.ArgumentParser(description="Time numpy's and PyTorch's conversions.")
    parser.add_argument("--size", type=parse_size, default=1 << 28, help="bytes of F32 (256MiB)")
    parser.add_argument("--repeat", type=int, default=9, help="repetitions (9)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU (1)")
    parser.add_argument(
        "--device",
        choices=("all", "cpu", "cuda"),
        default="all",
        help="where to measure (all that there are)",
    )
    return parser.parse_args()


def leave_out(what, reason):
    print(f"peers: {reason}; {what} is left out", file=sys.stderr)


def first_line(error):
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__


def time_on_host(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(operation, copy, n_repeats, time_once):
    """(seconds, seconds of the copy, ratio): medians."""
    for _ in range(WARM_UPS):
        operation()
        copy()
    times, copies = [], []
    for i in range(n_repeats):
        for turn in range(2):
            if (i + turn) % 2 == 0:
                copies.append(time_once(copy))
            else:
                times.append(time_once(operation))
    ratios = [copy_time / took for took, copy_time in zip(times, copies)]
    return statistics.median(times), statistics.median(copies), statistics.median(ratios)


def print_table(title, operations, n_repeats, make_copy, time_once):
    """operations: (name, function, bytes of operand and result)"""
    print(title)
    print()
    print("| operation | GB/s | copy GB/s | ratio |")
    print("|---|---|---|---|")
    for name, operation, n_bytes in operations:
        try:
            seconds, copy_seconds, ratio = measure(
                operation, make_copy(n_bytes // 2), n_repeats, time_once
            )
        except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
            print(f"| {name} | not supported: {first_line(error)} | | |", flush=True)
            continue
        print(
            f"| {name} | {n_bytes / seconds * 1e-9:.2f} | {n_bytes / copy_seconds * 1e-9:.2f} "
            f"| {ratio:.2f} |",
            flush=True,
        )
    print()


# ---- numpy


def numpy_operations(np, n):
    values = np.random.default_rng(0).standard_normal(n, dtype=np.float32)
    halves = values.astype(np.float16)
    to_half = np.empty(n, dtype=np.float16)
    to_single = np.empty(n, dtype=np.float32)
    to_byte = np.empty(n, dtype=np.int8)
    spare = np.empty(n, dtype=np.float32)

    def quantize():
        scale = max(values.max(), -values.min()) / np.float32(127)
        np.multiply(values, np.float32(1) / scale, out=spare)
        np.rint(spare, out=spare)
        np.copyto(to_byte, spare, casting="unsafe")

    return [
        ("f32->f16, np.copyto, into", lambda: np.copyto(to_half, values, casting="unsafe"), 6 * n),
        ("f32->f16, astype", lambda: values.astype(np.float16), 6 * n),
        ("f16->f32, np.copyto, into", lambda: np.copyto(to_single, halves), 6 * n),
        ("f16->f32, astype", lambda: halves.astype(np.float32), 6 * n),
        ("f32->i8/tensor, max, multiply, rint, copyto, into", quantize, 5 * n),
        ("np.abs(x).max()", lambda: np.abs(values).max(), 4 * n),
    ]


def run_numpy(arguments):
    try:
        import numpy as np
    except ImportError as error:
        leave_out("numpy", f"numpy cannot be imported ({error})")
        return

    def make_copy(n_bytes):
        source = np.ones(n_bytes, dtype=np.uint8)
        target = np.zeros(n_bytes, dtype=np.uint8)
        return lambda: np.copyto(target, source)

    n = arguments.size // 4
    title = f"numpy {np.__version__}, one thread, {n} elements"
    print_table(title, numpy_operations(np, n), arguments.repeat, make_copy, time_on_host)


# ---- PyTorch


def int8_by_hand(torch, x):
    scale = x.abs().max() / 127
    return torch.clamp(torch.round(x * (1 / scale)), -127, 127).to(torch.int8)


def torch_operations(torch, n, device):
    x = torch.randn(n, dtype=torch.float32, device=device)
    half = x.to(torch.float16)
    brain = x.to(torch.bfloat16)
    to_half = torch.empty_like(half)
    to_brain = torch.empty_like(brain)
    to_single = torch.empty_like(x)
    return [
        ("f32->f16, copy_, into", lambda: to_half.copy_(x), 6 * n),
        ("f32->f16, .to(torch.float16)", lambda: x.to(torch.float16), 6 * n),
        ("f32->bf16, copy_, into", lambda: to_brain.copy_(x), 6 * n),
        ("f32->bf16, .to(torch.bfloat16)", lambda: x.to(torch.bfloat16), 6 * n),
        ("f16->f32, copy_, into", lambda: to_single.copy_(half), 6 * n),
        ("bf16->f32, copy_, into", lambda: to_single.copy_(brain), 6 * n),
        (".to(torch.int8)", lambda: x.to(torch.int8), 5 * n),
        ("x.abs().max()", lambda: x.abs().max(), 4 * n),
        ("torch.aminmax(x)", lambda: torch.aminmax(x), 4 * n),
        (
            "f32->i8, torch.quantize_per_tensor, scale given",
            lambda: torch.quantize_per_tensor(x, 0.05, 0, torch.qint8),
            5 * n,
        ),
        (
            "f32->i8/tensor, absmax, multiply, round, clamp, .to(torch.int8)",
            lambda: int8_by_hand(torch, x),
            5 * n,
        ),
    ]


def run_torch_on(torch, arguments, device):
    def make_copy(n_bytes):
        source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
        target = torch.zeros_like(source)
        return lambda: target.copy_(source)

    def time_on_device(function):
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        function()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3

    on_cpu = device == "cpu"
    n = arguments.size // 4
    where = f"CPU, {arguments.threads} threads" if on_cpu else torch.cuda.get_device_name()
    print_table(
        f"PyTorch {torch.__version__}, {where}, {n} elements",
        torch_operations(torch, n, device),
        arguments.repeat,
        make_copy,
        time_on_host if on_cpu else time_on_device,
    )


def run_torch(arguments):
    try:
        import torch
    except ImportError as error:
        leave_out("PyTorch", f"PyTorch cannot be imported ({error})")
        return
    torch.set_num_threads(arguments.threads)
    if arguments.device in ("all", "cpu"):
        run_torch_on(torch, arguments, "cpu")
    if arguments.device in ("all", "cuda"):
        if torch.cuda.is_available():
            run_torch_on(torch, arguments, "cuda")
        else:
            leave_out("CUDA", "PyTorch sees no CUDA device")


def main():
    arguments = parse_arguments()
    if arguments.device in ("all", "cpu"):
        run_numpy(arguments)
    run_torch(arguments)


if __name__ == "__main__":
    main()
