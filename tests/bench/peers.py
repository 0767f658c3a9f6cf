# SPDX-License-Identifier: Apache-2.0
"""The ways a user has without this package, measured in a process of its own: ``python -m bench.peers``.

A peer's result must be right like ours before its time counts. PyTorch is optional. Where all tokens of a case would
take minutes, a peer is given the first of them, with all kv rows: its GFLOP/s of selected work stay comparable.
"""

import argparse
import functools
import importlib.util
import json
import os
import resource
import sys
from dataclasses import replace

import children
from bench.cases import FORWARD, LENGTHS, TRAINING, TrainingCase

TOKENS = {"torch": 4096, "mindspore": 128}
_REPEATS = 3
_ACCURACY = 3  # a peer may be off by this many times our bar: batched products round the scores to bfloat16
_DENSE_SECONDS = 10  # lengths at which dense attention is expected to take longer are left out


def installed():
    """Libraries whose ways can be measured here."""
    return [name for name in ("torch", "mindspore") if importlib.util.find_spec(name)]


def run_in_fresh_process(task, library, threads, case=None, causal=False):
    """Lines of JSON that the child printed, and its last words if it failed."""
    command = ["-m", "bench.peers", task, library, "--threads", threads]
    command += ["--case", case.name, "--t1", tokens(case, library)] if case else []
    command += ["--causal"] * causal
    child = children.run_python(*command, OMP_NUM_THREADS=str(threads))
    lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    if child.returncode:
        lines.append({"name": library, "failure": (child.stderr.strip().splitlines() or ["no message"])[-1]})
    return lines


def tokens(case, library):
    """How many of a case's tokens a library is given."""
    scale = max(1, case.group // 4) * (4 if case.operator == TRAINING and library == "torch" else 1)
    return min(case.t1, TOKENS[library] // scale)


def _report(**line):
    print(json.dumps(line), flush=True)


def _first_tokens(made, count):
    rows = {name: getattr(made, name)[:count] for name in ("query", "grad", "topk_indices")}
    return replace(made, **rows)


def _time_ways(ways, is_right, flop):
    """Prepares, proves and times each way; one that this installation cannot run says why."""
    from bench import measure

    for name, prepare in ways.items():
        try:
            run = prepare()
            is_right(run())
            seconds = [_seconds(run) for _ in range(_REPEATS)]
        except Exception as error:  # a peer that fails is reported, and must not end the run
            _report(name=name, failure=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
            continue
        median = measure.median(seconds)
        _report(name=name, seconds=median, gflops=flop / median / 1e9)


def _seconds(run):
    import time

    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def checker(made, to_numpy):
    """Compares a sample of a peer's [N1, T1, D2] with the oracle."""
    import numpy as np

    from bench import gate
    from support import BARS, compare_tensor

    sample = np.linspace(0, len(made.query) - 1, min(gate.TOKENS, len(made.query))).astype(int)
    part = replace(made, **{name: getattr(made, name)[sample] for name in ("query", "grad", "topk_indices")})

    def is_right(out):
        found = np.moveaxis(to_numpy(out), 0, 1)[sample]
        ratio = compare_tensor(found, part.forward[0], "out", made.dtype).rms_ratio
        allowed = _ACCURACY * BARS[made.dtype.name]["out"].rms
        assert ratio <= allowed, f"RMS error ratio {ratio:.3g} above {allowed:g}"

    return is_right


def selected(library, name, t1):
    """Times a library's ways to compute a case's selected attention for the first t1 tokens."""
    from bench import inputs, work
    from bench.cases import CASES

    case = next(case for case in CASES if case.name == name)
    made = _first_tokens(inputs.select_inputs(case), t1)
    flop = work.flop(case, work.selected_rows(replace(case, t1=t1), made.topk_indices))
    ways, to_numpy = ways_of(library, case, made)
    _time_ways(ways, checker(made, to_numpy), flop)


def ways_of(library, case, made):
    if library == "mindspore":
        from bench import peers_mindspore as peer

        ways = peer.forward_ways(peer.Problem(made)) if case.operator == FORWARD else {}
        return ways, lambda out: out.asnumpy()
    from bench import peers_torch as peer

    forward = case.operator == FORWARD
    problem = peer.Problem(made, needs_grad=not forward)
    ways = peer.forward_ways(problem) if forward else peer.training_ways(problem)
    return ways, functools.partial(peer.to_numpy, dtype=made.dtype)


def dense(library, causal):
    """Times dense attention at growing lengths, the fastest way of a library at each."""
    from bench import inputs

    seconds, failed = 0, set()
    for length in LENGTHS:
        if 4 * seconds > _DENSE_SECONDS:
            break
        case = TrainingCase(f"dense T={length}", FORWARD, 4, t1=length, t2=length)
        times = {}
        for name, prepare in _dense_ways(library, inputs.select_inputs(case), causal).items():
            if name in failed:
                continue
            try:
                run = prepare()
                times[name] = min(_seconds(run) for _ in range(1 + _REPEATS))
            except (MemoryError, RuntimeError) as error:  # PyTorch's of too little memory is a RuntimeError
                failed.add(name)
                _report(name=name, failure=f"T={length}: {(str(error).splitlines() or [''])[0][:200]}")
        if not times:
            break
        name = min(times, key=times.get)
        seconds = times[name]
        _report(name=name, t=length, seconds=seconds)


def _dense_ways(library, made, causal):
    if library == "mindspore":
        from bench import peers_mindspore as peer

        return peer.dense_ways(peer.Problem(made))
    from bench import peers_torch as peer

    return peer.dense_ways(peer.Problem(made), causal)


def _limit_memory():
    """Lets a way that needs more memory than there is fail instead of being killed, maybe along with others."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_DATA, (memory * 3 // 4, resource.RLIM_INFINITY))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("selected", "dense"))
    parser.add_argument("library", choices=tuple(TOKENS))
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--case")
    parser.add_argument("--t1", type=int)
    parser.add_argument("--causal", action="store_true")
    arguments = parser.parse_args()
    _limit_memory()
    if arguments.library == "torch":
        import torch

        torch.set_num_threads(arguments.threads)
    if arguments.task == "dense":
        dense(arguments.library, arguments.causal)
    else:
        selected(arguments.library, arguments.case, arguments.t1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
