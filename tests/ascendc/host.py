# SPDX-License-Identifier: Apache-2.0
"""Compiles the operators' host code and calls its tiling functions."""

import ctypes
import functools
import hashlib
import pathlib
import subprocess
import sys

from builds import build_once, one_builder

ROOT = pathlib.Path(__file__).resolve().parents[2]
ASCENDC = ROOT / "ascendc"
FOLDERS = [ASCENDC / "common", ASCENDC / "op_host"]
RULES = ROOT / "ms_nsa" / "csrc" / "call"  # whose arithmetic of extents op_host takes
LAYOUTS = ("BSH", "BSND", "TND")
SCHEDULES = ("best", "token", "block")

INTS = ctypes.c_int64


class AttentionShapes(ctypes.Structure):
    """ms_nsa::AttentionShapes."""

    _fields_ = [
        ("head_num", INTS),
        ("key_value_head_num", INTS),
        ("d1", INTS),
        ("d2", INTS),
        ("select_block_size", INTS),
        ("select_block_count", INTS),
        ("atten_mask_rows", INTS),
        ("atten_mask_cols", INTS),
        ("sparse_mode", INTS),
        ("default_scale", ctypes.c_bool),
        ("scale_value", ctypes.c_double),
        ("debug", ctypes.c_bool),
    ]


class InferShapes(ctypes.Structure):
    """ms_nsa::InferShapes."""

    _fields_ = [
        ("attention", AttentionShapes),
        ("layout", ctypes.c_int32),
        ("batch", INTS),
        ("leading", INTS * 2),
        ("num_blocks", INTS),
        ("page_block_size", INTS),
        ("max_blocks", INTS),
        ("has_q_lens", ctypes.c_bool),
        ("statistics", ctypes.c_bool),
        ("token_mask", ctypes.c_bool),
        ("heads_first", ctypes.c_bool),
    ]


class SelectShapes(ctypes.Structure):
    """ms_nsa::SelectShapes."""

    _fields_ = [
        ("attention", AttentionShapes),
        ("t1", INTS),
        ("t2", INTS),
        ("batch", INTS),
        ("has_q_lens", ctypes.c_bool),
        ("has_kv_lens", ctypes.c_bool),
        ("has_max_grad", ctypes.c_bool),
        ("has_sum_grad", ctypes.c_bool),
    ]


WIDE = [
    *["batch", "tokens", "tokens_per_sequence", "kv_rows", "num_blocks", "max_blocks"],
    *["atten_mask_rows", "atten_mask_cols"],
]
NARROW = [
    *["kv_heads", "group", "d1", "d2", "select_block_size", "select_block_count", "page_block_size"],
    *["sparse_mode", "has_q_lens", "has_kv_lens", "chunk_rows", "bundles", "segment_tokens"],
    *["has_max_grad", "has_sum_grad", "statistics", "token_mask", "heads_first", "piece_tiles"],
]


class AttentionParams(ctypes.Structure):
    """ms_nsa::AttentionParams, the tiling data."""

    _fields_ = [
        *((name, INTS) for name in WIDE),
        *((name, ctypes.c_int32) for name in NARROW),
        ("scale_value", ctypes.c_float),
        ("weight_scale", ctypes.c_float),
        ("debug", ctypes.c_int32),
    ]


class Plan(ctypes.Structure):
    """What a tiling function decides."""

    _fields_ = [
        ("params", AttentionParams),
        ("block_dim", INTS),
        ("workspace_bytes", INTS),
        ("error", ctypes.c_char * 512),
    ]


@functools.cache
def generated():
    """The folder of what ascendc/generate.py makes of op_info."""
    scripts = [ASCENDC / "generate.py", ROOT / "ms_nsa" / "csrc" / "generate.py", *sorted(ROOT.glob("ms_nsa/op_*.py"))]
    files = [*scripts, *sorted((ROOT / "op_info").glob("*.json"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    target = ROOT / "build" / "ascendc" / f"op_info-{digest}"
    with one_builder(target):
        if not (target / "op_info.cpp").is_file():  # the last that is written
            subprocess.run([sys.executable, str(scripts[0]), str(ROOT / "op_info"), str(target)], check=True)
    return target


def build(sources, name, options=("-std=c++17",)):
    """Path of a shared library of `sources`, compiled anew only when something changed."""
    headers = [*sorted(ROOT.glob("tests/ascendc/cann/include/**/*.h"))]
    headers += [path for folder in (*FOLDERS, generated(), RULES) for path in sorted(folder.glob("*.h"))]
    text = b"".join(path.read_bytes() for path in (*sources, *headers)) + repr(options).encode()
    digest = hashlib.sha256(text).hexdigest()[:16]
    target = ROOT / "build" / "ascendc" / f"{name}-{digest}.so"
    # RULES has a limits.h, which must not hide the system's.
    include = [*(f"-I{folder}" for folder in (*FOLDERS, generated())), f"-iquote{RULES}"]
    flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command = ["g++", *options, *flags, *include, *map(str, sources), "-o"]
    return build_once(target, lambda partial: subprocess.run([*command, str(partial)], check=True))


@functools.cache
def library():
    here = pathlib.Path(__file__).resolve().parent
    return ctypes.CDLL(str(build([here / "host.cpp", *sorted((ASCENDC / "op_host").glob("*_tiling.cpp"))], "host")))


def tile(shapes, aic_cores, schedule="best"):
    """The Plan for InferShapes or SelectShapes; ValueError with the tiling's sentence."""
    plan = Plan()
    arguments = [ctypes.byref(shapes), aic_cores, ctypes.byref(plan)]
    if isinstance(shapes, InferShapes):
        failed = library().HostTileInfer(*arguments)
    elif schedule == "grad":
        failed = library().HostTileSelectGrad(*arguments)
    else:
        failed = library().HostTileSelect(*arguments, SCHEDULES.index(schedule))
    if failed:
        raise ValueError(plan.error.decode())
    return plan


def shapes_of(case, debug=False):
    """InferShapes of a PagedCase, SelectShapes of a SelectCase."""
    mask_rows, mask_cols = (0, 0) if case.atten_mask is None else case.atten_mask.shape[-2:]
    attention = AttentionShapes(
        head_num=case.head_num,
        key_value_head_num=case.key_value_head_num,
        d1=case.key_rows.shape[2],
        d2=case.value_rows.shape[2],
        select_block_size=case.select_block_size,
        select_block_count=case.select_block_count,
        atten_mask_rows=mask_rows,
        atten_mask_cols=mask_cols,
        sparse_mode=case.sparse_mode,
        default_scale=case.scale_value is None,
        scale_value=case.scale_value or 0.0,
        debug=debug,
    )
    if hasattr(case, "block_table"):
        return _infer_shapes(case, attention)
    lens = case.actual_seq_qlen
    max_grad, sum_grad = case.statistics_grad or (None, None)
    return SelectShapes(
        attention=attention,
        t1=len(case.query),
        t2=len(case.key),
        batch=1 if lens is None else len(lens),
        has_q_lens=lens is not None,
        has_kv_lens=case.actual_seq_kvlen is not None,
        has_max_grad=max_grad is not None,
        has_sum_grad=sum_grad is not None,
    )


def _infer_shapes(case, attention):
    return InferShapes(
        attention=attention,
        layout=LAYOUTS.index(case.layout),
        batch=len(case.block_table),
        leading=case.query.shape[:2] if case.layout != "TND" else (len(case.query), 1),
        num_blocks=len(case.key),
        page_block_size=case.page_block_size,
        max_blocks=case.block_table.shape[1],
        has_q_lens=case.actual_seq_qlen is not None,
        statistics=case.return_softmax_lse,
        token_mask=case.atten_mask is not None and case.atten_mask.ndim == 3,
        heads_first=case.cache_layout == "BNSD",
    )
