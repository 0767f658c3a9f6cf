# SPDX-License-Identifier: Apache-2.0
"""The kernels of every ISA, run between guard pages on poisoned memory, against the float64 reference."""

import itertools
import pathlib
import platform
import subprocess
from dataclasses import replace
from functools import cache

import ml_dtypes
import numpy as np
import pytest

from support import check_forward, check_gradients, make_paged_case, make_select_case, random_select_case
from support.case_file import paged_call, select_call, select_grad_call
from support.kernel_runner import (
    ARM_COMPILER,
    ARM_ISAS,
    CPU_FLAGS,
    ISAS,
    arm_runner,
    missing_for_arm,
    native_runner,
    processor_flags,
    unit_objects,
)

DTYPES = [np.dtype(name) for name in (np.float16, ml_dtypes.bfloat16, np.float32)]
# Instruction sets that differ from a narrower one in some types only.
OWN_DTYPES = {"neonfp16": DTYPES[:1], "neonbf16": DTYPES[1:2]}
THREADS = (1, 2, 3)
OUTPUTS = ("attention_out", "softmax_max", "softmax_sum", "dq", "dk", "dv")


def dtypes_of(isa):
    return OWN_DTYPES.get(isa, DTYPES)


for_isa_and_dtype = pytest.mark.parametrize(
    ("isa", "dtype"), [pytest.param(isa, dtype, id=f"{isa}-{dtype}") for isa in ISAS for dtype in dtypes_of(isa)]
)


@pytest.fixture(params=ISAS)
def isa(request):
    return request.param


@pytest.fixture
def runner(isa):
    emulated = isa in ARM_ISAS and processor_flags() is not None
    if emulated and missing_for_arm():
        pytest.skip(f"not installed: {', '.join(missing_for_arm())}")
    if not emulated and isa not in native_runner().isas():
        pytest.skip(f"this processor has no {isa}, and qemu emulates none")
    return arm_runner() if emulated else native_runner()


def check(runner, isa, folder, cases, threads=THREADS):
    """Forward and gradient of every case are right, and bitwise equal for every number of threads."""
    calls = [make(case) for case in cases for make in (select_call, select_grad_call)]
    results = runner.run(folder, isa, calls, threads)
    checks = [(case, check) for case in cases for check in (check_forward, check_gradients)]
    for (case, check_outputs), runs in zip(checks, results):
        for count, outputs in zip(threads, runs):
            same = all(a.tobytes() == b.tobytes() for a, b in zip(runs[0], outputs))
            assert same, f"{count} threads differ from {threads[0]}: {case}"
        check_outputs(case, *runs[0])


# Cached, because a case keeps the oracle's answer and every ISA asks for it.
@cache
def random_cases(seed, count, dtype):
    rng = np.random.default_rng(seed)
    return [random_select_case(rng, dtype, poison=bool(i % 2)) for i in range(count)]


@for_isa_and_dtype
def test_random_cases(runner, isa, tmp_path, dtype):
    check(runner, isa, tmp_path, random_cases(7, 40, dtype))


@pytest.mark.slow
@for_isa_and_dtype
def test_many_random_cases(runner, isa, tmp_path, dtype):
    for seed in range(5):
        check(runner, isa, tmp_path, random_cases(100 + seed, 100, dtype))


def sized_case(dtype, seed=3, **changes):
    sizes = {
        "q_lens": [37, 0, 70, 5], "kv_lens": [61, 9, 233, 0], "n2": 2, "group": 3, "d1": 40, "d2": 72,
        "select_block_size": 17, "select_block_count": 6, "sparse_mode": 3,
    }  # fmt: skip
    return make_select_case(np.random.default_rng(seed), dtype, **{**sizes, **changes})


# Rows enough for every block that the forward by matrix tiles packs each of them once; the last blocks are short.
PACKED_ONCE = {"q_lens": [210, 0, 130, 5], "kv_lens": [230, 9, 180, 0], "group": 5, "select_block_size": 100}


@cache
def cases_around_the_tiles(dtype):
    return [
        sized_case(dtype),
        sized_case(dtype, select_block_size=64, select_block_count=3, d1=192, d2=128, group=1),
        sized_case(dtype, select_block_size=150, select_block_count=2, d1=7, d2=131, sparse_mode=0),
        sized_case(dtype, select_block_size=1, select_block_count=20, d1=1, d2=1, sparse_mode=2),
        sized_case(dtype, q_lens=[130], kv_lens=[110], n2=1, group=17, d1=16, d2=15, styles=("one_block",)),
        sized_case(dtype, q_lens=[71, 39], kv_lens=[80, 35], group=17, d1=15, d2=16),
        sized_case(dtype, q_lens=[3] * 40, kv_lens=[21] * 40, n2=3, group=2),
        sized_case(dtype, **PACKED_ONCE),
        sized_case(dtype, **{**PACKED_ONCE, "select_block_size": 64, "d2": 128}),
    ]


@for_isa_and_dtype
def test_sizes_around_the_tiles(runner, isa, tmp_path, dtype):
    """Several chunks and batches a head; blocks below, at and above a key tile; heads wider than a panel."""
    check(runner, isa, tmp_path, cases_around_the_tiles(dtype))


SMALL_BLOCKS = {"q_lens": [9, 70], "kv_lens": [20, 90], "select_block_size": 40}


def non_finite_places():
    """NaN and inf in every input; of blocks packed once, which take an emulated processor seconds, one of the two."""
    for place, fewer in (("query", np.nan), ("key", np.inf), ("value", np.inf), ("grad", np.nan)):
        for bad in (np.nan, np.inf):
            yield pytest.param(place, bad, SMALL_BLOCKS, id=f"{bad}-{place}-small_blocks")
        yield pytest.param(place, fewer, PACKED_ONCE, id=f"{fewer}-{place}-packed_once")


@pytest.mark.parametrize(("place", "bad", "sizes"), list(non_finite_places()))
def test_non_finite_data_reaches_only_what_sees_it(runner, isa, tmp_path, place, bad, sizes):
    """The bad element lies in blocks that some causal rows see only in part, without it."""
    cases = []
    for dtype in dtypes_of(isa):
        case = sized_case(dtype, scale_value=0.2, select_block_count=3, styles=("distinct",), **sizes)
        array = getattr(case, place).copy()
        array[len(array) // 2, 1, 3] = bad
        cases.append(replace(case, **{place: array}))
    calls = [make(case) for case in cases for make in (select_call, select_grad_call)]
    results = runner.run(tmp_path, isa, calls)
    with np.errstate(invalid="ignore"):
        for i, case in enumerate(cases):
            expected = (*case.forward, *case.gradients)
            actual = (*results[2 * i][0], *results[2 * i + 1][0])
            for name, found, right in zip(OUTPUTS, actual, expected):
                # Inf may come out as NaN: which of the two is left to the order of operations.
                statistic = name == "softmax_max"  # -inf where nothing is visible
                fine = [np.isfinite(x) | (statistic & np.isneginf(x)) for x in (found.astype(np.float32), right)]
                assert (fine[0] == fine[1]).all(), f"{name} of {case}"


def test_order_of_slots_and_padding_are_bitwise_irrelevant(runner, isa, tmp_path):
    for dtype in dtypes_of(isa):
        case = sized_case(dtype, styles=("holes", "repeated"))
        rng = np.random.default_rng(5)
        padded = np.concatenate([case.topk_indices, np.full((*case.topk_indices.shape[:2], 3), -1, np.int32)], axis=2)
        shuffled = rng.permuted(padded, axis=2)
        variants = [replace(case, topk_indices=indices) for indices in (case.topk_indices, padded, shuffled)]
        for make in (select_call, select_grad_call):
            runs = runner.run(tmp_path, isa, [make(variant) for variant in variants])
            for other in runs[1:]:
                assert all(a.tobytes() == b.tobytes() for a, b in zip(runs[0][0], other[0]))


@cache
def decode_cases(dtype):
    """Every way to share out query heads over vectors, with and without a last vector that is not full."""
    sizes = {
        "s": 2, "q_lens": [2, 1, 2], "kv_lens": [300, 45, 141], "n2": 2, "page_block_size": 14, "spare_pages": 2,
        "spare_slots": 1, "select_block_size": 19, "select_block_count": 7, "scale_value": 0.2,
    }  # fmt: skip
    dims = itertools.cycle([(21, 35), (64, 32), (3, 70), (33, 1), (192, 128)])
    return [
        make_paged_case(np.random.default_rng(group), dtype, "BSND", group=group, d1=d1, d2=d2, **sizes).poisoned()
        for group in (1, 2, 3, 4, 5, 6, 8, 9, 16, 17, 20, 33)
        for d1, d2 in itertools.islice(dims, 2)
    ]


# The second has rows enough for blocks to be packed once.
@pytest.mark.parametrize(("rows", "seen", "group", "block_size"), [(70, 45, 3, 20), (200, 130, 5, 100)])
@for_isa_and_dtype
def test_later_rows_change_no_bit(runner, isa, tmp_path, dtype, rows, seen, group, block_size):
    """Of a token's results, where they come to hold NaN and the token's own block has some of them."""
    sizes = {"q_lens": [rows], "kv_lens": [rows], "group": group, "select_block_size": block_size}
    case = sized_case(dtype, d2=40, styles=("ascending",), **sizes)
    spoiled = {name: np.array(getattr(case, name)) for name in ("query", "key", "value")}
    for array in spoiled.values():
        array[seen:] = np.nan
    calls = [make(each) for each in (case, replace(case, **spoiled)) for make in (select_call, select_grad_call)]
    forward, gradient, later_forward, later_gradient = (runs[0] for runs in runner.run(tmp_path, isa, calls))
    for name, a, b in zip(OUTPUTS, (*forward, gradient[0]), (*later_forward, later_gradient[0])):
        a, b = (array.reshape(rows, -1)[:seen] for array in (a, b))
        assert np.isfinite(a.astype(np.float32)).all()
        assert a.tobytes() == b.tobytes(), name


@for_isa_and_dtype
def test_decode_of_every_group_size(runner, isa, tmp_path, dtype):
    """Right between guard pages, among NaN, for any number of threads; absent slots change no bit."""
    for case in decode_cases(dtype):
        topk = case.topk_indices
        padded = replace(case, topk_indices=np.concatenate([np.full_like(topk[..., :2], -1), topk[..., ::-1]], -1))
        plain, other = runner.run(tmp_path, isa, [paged_call(case), paged_call(padded)], THREADS)
        assert len({out.tobytes() for (out,) in (*plain, *other)}) == 1, f"bits differ: {case}"
        check_forward(case, plain[0][0].reshape(case.attention_out_shape))


def test_supported_isas_are_those_of_the_processor():
    flags = processor_flags()
    if flags is None:
        pytest.skip("/proc/cpuinfo lists no flags: not an x86 processor")
    expected = ["scalar", *(isa for isa, needed in CPU_FLAGS.items() if needed <= flags)]
    if "avx512bf16" in expected and "GenuineIntel" in pathlib.Path("/proc/cpuinfo").read_text():
        at = expected.index("avx512")
        expected[at : at + 2] = "avx512bf16", "avx512"  # FMAs are faster there
    assert native_runner().isas() == expected


@pytest.mark.slow
@pytest.mark.parametrize(("model", "isas"), [("cortex-a72", ["neon"]), ("max", ARM_ISAS)])
def test_supported_isas_of_arm_processors(model, isas):
    if missing_for_arm():
        pytest.skip(f"not installed: {', '.join(missing_for_arm())}")
    runner = arm_runner(model)
    assert runner.isas() == ["scalar", *isas]
    assert "must be one of scalar, " + ", ".join(isas) + " on this machine, got avx2" in runner.fails("avx2")


def test_unknown_isa_is_refused():
    names = ", ".join(native_runner().isas())
    message = native_runner().fails("sse9")
    assert message.strip() == f"ms_nsa: MS_NSA_ISA must be one of {names} on this machine, got sse9"


@pytest.fixture(params=["native", pytest.param("aarch64", marks=pytest.mark.slow)])
def units(request):
    """Object files of the instruction-set units of a processor family, and what its tools' names begin with."""
    if request.param == "native":
        build, tools = native_runner().build, ""
    elif missing_for_arm():
        pytest.skip(f"not installed: {', '.join(missing_for_arm())}")
    else:
        build, tools = arm_runner().build, ARM_COMPILER.removesuffix("g++")
    objects = unit_objects(build)
    assert objects
    return objects, tools


def test_compilers_keep_the_prefetches(units):
    """GCC drops the calls of functions that only prefetch."""
    objects, tools = units
    x86 = not tools and platform.machine() == "x86_64"
    near, far = ("prefetcht0", "prefetcht1") if x86 else ("pldl1keep", "pldl2keep")
    for path in objects:
        code = subprocess.run([f"{tools}objdump", "-d", str(path)], capture_output=True, text=True, check=True).stdout
        assert near in code and far in code, path.name


def shared_symbols(path, tools=""):
    """Symbols that the linker merges with another unit's: it could keep the one with the wider instructions."""
    done = subprocess.run([f"{tools}nm", "-C", "--defined-only", str(path)], capture_output=True, text=True, check=True)
    symbols = [line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()]
    return [name for kind, name in symbols if kind in "TWVu" and not name.startswith("DW.ref")]


def test_isa_units_share_no_code(units):
    objects, tools = units
    for path in objects:
        assert not shared_symbols(path, tools), path.name


def test_a_shared_symbol_is_found(tmp_path):
    """What buffer.h warns of: a member of std::vector."""
    (tmp_path / "unit.cpp").write_text("#include <vector>\nvoid f(std::vector<int>& v) { v.push_back(1); }\n")
    subprocess.run(["g++", "-c", "unit.cpp"], cwd=tmp_path, check=True)
    assert any("vector" in name for name in shared_symbols(tmp_path / "unit.o"))
