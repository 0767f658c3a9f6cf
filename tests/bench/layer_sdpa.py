# SPDX-License-Identifier: Apache-2.0
"""Seconds of PyTorch's scaled_dot_product_attention, causal, for `python -m bench layer`.

It runs in a process of its own, so that the Python that has PyTorch need not have MindSpore:
``python bench/layer_sdpa.py KIND TOKENS HEADS GROUP HEAD_DIM DTYPE REPEATS LONG_CALL``
"""

import statistics
import subprocess
import sys
import time

import children


def seconds(kind, tokens, heads, o):
    """None where `o.torch`, a Python, has no PyTorch."""
    sizes = kind, tokens, heads, o.group, o.head_dim, o.dtype, o.repeats, o.long_call
    command = [o.torch, "-m", "bench.layer_sdpa", *map(str, sizes)]
    environment = children.environment(PYTHONPATH=None) if o.torch != sys.executable else children.environment()
    run = subprocess.run(command, cwd=children.FOLDER, env=environment, capture_output=True, text=True)
    if run.returncode and "No module named 'torch'" in run.stderr:
        return None
    run.check_returncode()
    return float(run.stdout.splitlines()[-1])


def seconds_of(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(kind, tokens, heads, group, head_dim, dtype, repeats, long_call):
    """The median after a first call; a long first call is all there is."""
    import torch

    shapes = [(1, number, tokens, head_dim) for number in (heads, heads // group, heads // group)]
    made = (torch.randn(shape).to(getattr(torch, dtype)) for shape in shapes)
    query, key, value = (each.requires_grad_(kind == "gradient") for each in made)
    grad = torch.randn(shapes[0]).to(query.dtype)

    def call():
        rows = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        out = torch.nn.functional.scaled_dot_product_attention(query, *rows, is_causal=True)
        if kind == "gradient":
            out.backward(grad)

    first = seconds_of(call)
    return first if first > long_call else statistics.median(seconds_of(call) for _ in range(repeats))


if __name__ == "__main__":
    kind, *counts, dtype, repeats, long_call = sys.argv[1:]
    print(measure(kind, *map(int, counts), dtype, int(repeats), float(long_call)))
