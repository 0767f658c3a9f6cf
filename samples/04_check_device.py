# SPDX-License-Identifier: Apache-2.0
"""Checks the operators on a device against the float64 reference, times them, and writes a report to send back.

The cases of selected attention are those of the project's tests: training forward and gradient, and paged inference,
with every edge that they know. The other operators run one ragged batch each. The exit status is 1 if anything is off.

    python samples/04_check_device.py                       # on an NPU
    python samples/04_check_device.py --device-target CPU   # the same on the CPU
"""

import argparse
import os
import pathlib
import sys
import time
from dataclasses import replace

import mindspore as ms
import numpy as np

import ms_nsa
from ms_nsa import backend

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))  # the shared cases

import device_family

from support import ASCEND, BARS, DTYPES, NAMED_CASES, random_paged_case, random_select_case
from support.run_cells import attributes_of, check, forward_inputs, run_training, same_bits

KINDS = {"attention_out": "out", "dq": "grad", "dk": "grad", "dv": "grad"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device-target", choices=["Ascend", "CPU"], default="Ascend")
    parser.add_argument("--report", type=pathlib.Path, default=pathlib.Path("device_report.md"))
    parser.add_argument("--dtypes", nargs="+", choices=["float16", "bfloat16"], default=["float16", "bfloat16"])
    parser.add_argument("--every", type=int, default=1, help="take every so many of the named cases")
    parser.add_argument("--graph-every", type=int, default=16, help="so many of them in Graph mode too, which compiles")
    parser.add_argument("--random", type=int, default=20, help="random cases of each operator and dtype")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens and key rows of the timed training calls")
    parser.add_argument("--sequences", type=int, default=64, help="sequences of the timed decoding call")
    parser.add_argument("--kv-length", type=int, default=2048, help="rows of each of them")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls")
    return parser.parse_args()


class Report:
    """Lines that are printed and written, and how many checks failed."""

    def __init__(self):
        self.lines, self.failures = [], 0

    def add(self, line=""):
        print(line, flush=True)
        self.lines.append(line)

    def table(self, *cells):
        self.add("| " + " | ".join(map(str, cells)) + " |")

    def fail(self, name, error):
        self.failures += 1
        text = str(error).splitlines()
        self.add(f"FAILED {name}: {type(error).__name__}: {' / '.join(text[:3])}")


def environment(report, device_target):
    report.add(f"# ms_nsa on {device_target}, {time.strftime('%Y-%m-%d %H:%M')}")
    report.add()
    for name, value in backend.report():
        report.table(name, value)
    report.add()


def cases_of(args, dtype):
    """Pairs of a case and the modes to run it in."""
    named = sorted(NAMED_CASES)[:: args.every]
    for index, name in enumerate(named):
        modes = ["pynative", "graph"] if index % args.graph_every == 0 else ["pynative"]
        yield NAMED_CASES[name](DTYPES[dtype], ASCEND), modes
    for seed in range(args.random):
        for make in (random_select_case, random_paged_case):
            yield make(np.random.default_rng(seed), DTYPES[dtype], ASCEND), ["pynative"]


def check_cases(report, args, dtype):
    """Every case; then the largest error of each tensor next to what is allowed, as fractions."""
    report.add(f"## {dtype} against the float64 reference")
    worst, runs = {}, 0
    for case, modes in cases_of(args, dtype):
        for mode in modes:
            runs += 1
            try:
                for tensor, ratio in check(case, mode).items():
                    worst[tensor] = max(worst.get(tensor, (0.0, "")), (ratio, f"{case.name}, {mode}"))
            except Exception as error:  # whatever it is belongs into the report
                report.fail(f"{case.name}, {dtype}, {mode}", error)
    report.add(f"{runs} runs, {report.failures} failures so far")
    report.add()
    report.table("tensor", "largest RMS error", "allowed", "case")
    report.table("---", "---", "---", "---")
    for tensor, (ratio, name) in worst.items():
        report.table(tensor, f"{ratio:.2e}", f"{BARS[dtype][KINDS.get(tensor, tensor)].rms:.0e}", name)
    report.add()


def check_family(report, dtype):
    """The other operators, one ragged batch each."""
    report.add(f"## {dtype}: the other operators")
    report.table("operator", "RMS error of each tensor, as a fraction")
    report.table("---", "---")
    try:
        for operator, comparisons in device_family.comparisons(dtype):
            for name, found in comparisons.items():
                if found.failure:
                    report.fail(f"{operator}, {dtype}", AssertionError(f"{name} {found.failure}"))
            ratios = (f"{name} {found.rms_ratio:.2e}" for name, found in comparisons.items())
            report.table(operator, ", ".join(ratios))
    except Exception as error:  # as above
        report.fail(f"the other operators, {dtype}", error)
    report.add()


def check_repeats(report, dtype):
    """Forward and gradients of one case, five times."""
    case = random_select_case(np.random.default_rng(1), DTYPES[dtype], ASCEND)
    first, *others = (run_training(case) for _ in range(5))
    if all(same_bits(first, other) for other in others):
        report.add(f"{dtype}: five runs are bitwise the same")
    else:
        report.fail(f"repeats, {dtype}", AssertionError("five runs must be bitwise the same"))


def check_debugging(report, dtype):
    """Under MS_NSA_DEBUG=1 an index out of range is an error on any device."""
    before, os.environ["MS_NSA_DEBUG"] = os.environ.get("MS_NSA_DEBUG", "0"), "1"
    for make, kind in ((random_select_case, "NsaSelectAttention"), (random_paged_case, "NsaSelectedAttentionInfer")):
        case = make(np.random.default_rng(1), DTYPES[dtype], ASCEND)
        case = replace(case, topk_indices=np.full_like(case.topk_indices, np.iinfo(np.int32).max))
        try:
            wait_for(getattr(ms_nsa, kind)(**attributes_of(case))(*forward_inputs(case)))
            report.fail(f"debugging, {dtype}", AssertionError(f"{kind} must name an index out of range"))
        except RuntimeError as error:
            if f"{kind}: topk_indices must be below" in str(error):
                report.add(f"{dtype}: {kind} names an index out of range")
            else:
                report.fail(f"debugging, {dtype}", error)
    os.environ["MS_NSA_DEBUG"] = before


def normal(rng, dtype, *shape):
    return ms.Tensor(rng.standard_normal(shape, np.float32).astype(DTYPES[dtype]))


def blocks(rng, *shape, blocks_of_sequence):
    return ms.Tensor(rng.integers(0, blocks_of_sequence, shape).astype(np.int32))


def training_call(args, dtype):
    """The forward, and the gradient from its results: 4 groups of 4 heads, 16 blocks of 64 rows a token."""
    rng, tokens = np.random.default_rng(0), args.tokens
    query, grad = normal(rng, dtype, tokens, 16, 192), normal(rng, dtype, tokens, 16, 128)
    key, value = normal(rng, dtype, tokens, 4, 192), normal(rng, dtype, tokens, 4, 128)
    topk_indices = blocks(rng, tokens, 4, 16, blocks_of_sequence=-(-tokens // 64))
    forward, backward = ms_nsa.NsaSelectAttention(16), ms_nsa.NsaSelectAttentionGrad(16)
    results = forward(query, key, value, topk_indices)
    return {
        "forward": lambda: forward(query, key, value, topk_indices),
        "gradient": lambda: backward(grad, query, key, value, *results, topk_indices),
    }


def decoding_call(args, dtype):
    """One new token for each sequence, pages of 128 rows scattered over the cache."""
    rng, pages = np.random.default_rng(0), -(-args.kv_length // 128)
    table = rng.permutation(args.sequences * pages).reshape(args.sequences, pages).astype(np.int32)
    query = normal(rng, dtype, args.sequences, 1, 16, 192)
    key, value = normal(rng, dtype, table.size, 128, 4, 192), normal(rng, dtype, table.size, 128, 4, 128)
    topk_indices = blocks(rng, args.sequences, 1, 4, 16, blocks_of_sequence=-(-args.kv_length // 64))
    lengths = ms.Tensor(np.full(args.sequences, args.kv_length, np.int64))
    attention = ms_nsa.NsaSelectedAttentionInfer(16, 4, 64, 16, 128)
    table = ms.Tensor(table)
    return {"decode": lambda: attention(query, key, value, topk_indices, table, None, lengths)}


def wait_for(results):
    """Until the device is idle. On the CPU there is nothing to wait for but the results themselves."""
    if ms.get_context("device_target") == "Ascend":
        ms.runtime.synchronize()
        return
    for tensor in results if isinstance(results, tuple) else (results,):
        tensor.asnumpy()


def milliseconds(call, repeats):
    """Median time of a call, from one moment at which the device is idle to the next."""
    times = []
    wait_for(call())
    wait_for(call())
    for _ in range(repeats):
        began = time.perf_counter()
        wait_for(call())
        times.append(time.perf_counter() - began)
    return np.median(times) * 1e3


def time_calls(report, args, dtype):
    training = f"T1 = T2 = {args.tokens}, N2 = 4, G = 4, D 192/128, 16 blocks of 64"
    decoding = f"B = {args.sequences}, kv {args.kv_length}, the same heads and blocks, pages of 128"
    report.table("call", "milliseconds", "shape")
    report.table("---", "---", "---")
    family = f"T = {args.tokens}, N2 = 4, G = 4, D 192/128, windows of 32 every 16, 16 blocks of 64, window 512"
    others = (lambda args, dtype: device_family.timed_calls(args.tokens, dtype)), family
    for make, shape in ((training_call, training), others, (decoding_call, decoding)):
        try:
            for name, call in make(args, dtype).items():
                report.table(name, f"{milliseconds(call, args.repeats):.3f}", f"{shape}, {dtype}")
        except Exception as error:
            report.fail(f"timing, {dtype}", error)
    report.add()


def main():
    args = parse_arguments()
    ms.set_device(args.device_target)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    report = Report()
    environment(report, args.device_target)
    for dtype in args.dtypes:
        check_cases(report, args, dtype)
        check_family(report, dtype)
        try:
            check_repeats(report, dtype)
            check_debugging(report, dtype)
        except Exception as error:
            report.fail(f"repeats, {dtype}", error)
        report.add()
        time_calls(report, args, dtype)
    report.add(f"{report.failures} failures" if report.failures else "everything agrees with the reference")
    args.report.write_text("\n".join(report.lines) + "\n", encoding="utf-8")
    print(f"written to {args.report}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
