# SPDX-License-Identifier: Apache-2.0
"""Command line of the benchmark: ``cd tests && python -m bench``."""

import argparse
import os
import pathlib
import re
import sys

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Proves results right, then measures speed against peaks measured in the same run. The exit code "
        "is not 0 if a result is wrong. Unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE: they would slow the peers.",
    )
    parser.add_argument("--quick", action="store_true", help="a minute: fewer cases and smaller sizes, bars not judged")
    parser.add_argument("--only", metavar="PATTERN", help="cases whose name this regular expression finds")
    parser.add_argument("--isa", help="instruction set of the kernels, as MS_NSA_ISA")
    parser.add_argument("--threads", type=int, help="threads of kernels, peaks and peers, as OMP_NUM_THREADS")
    parser.add_argument("--repeats", type=int, help="samples a case, each of a long call or a row of short ones")
    parser.add_argument("--no-peers", action="store_true", help="leave out what other libraries do")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    parser.add_argument("--output", type=pathlib.Path, help="folder of CSV and PNG; default tests/bench/results")
    return parser.parse_args(arguments)


def set_environment(options):
    """Settings that are read once, when MindSpore and the library are loaded."""
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.isa:
        os.environ["MS_NSA_ISA"] = options.isa


def selected_cases(options):
    from bench.cases import CASES

    cases = [case.quickened() for case in CASES if case.quick] if options.quick else CASES
    return [case for case in cases if options.only is None or re.search(options.only, case.name)]


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["family"]:
        from bench import family

        return family.main(arguments[1:])
    if arguments[:1] == ["layer"]:
        from bench import layer

        return layer.main(arguments[1:])
    options = parse(arguments)
    set_environment(options)
    cases = selected_cases(options)
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    from bench import session

    repeats = options.repeats or (3 if options.quick else 9)
    # A part of the cases does not overwrite the figures of all of them.
    partial = options.quick or options.only
    output = options.output or (None if partial else RESULTS)
    with_peers = not (options.no_peers or options.quick)
    return session.run(cases, repeats, output, whole=not partial, with_peers=with_peers)


if __name__ == "__main__":
    sys.exit(main())
