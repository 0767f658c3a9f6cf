"""Compiles the operators' host code and calls its tiling functions."""

import ctypes
import functools
import hashlib
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
ASCENDC = ROOT / "ascendc"
FOLDERS = [ASCENDC / "common", ASCENDC / "op_host"]
LAYOUTS = ("BSH", "BSND", "TND")

INTS = ctypes.c_int64


class InferShapes(ctypes.Structure):
    """ms_nsa::InferShapes."""

    _fields_ = [
        ("layout", ctypes.c_int32),
        ("batch", INTS),
        ("leading", INTS * 2),
        ("head_num", INTS),
        ("key_value_head_num", INTS),
        ("d1", INTS),
        ("d2", INTS),
        ("num_blocks", INTS),
        ("max_blocks", INTS),
        ("select_block_size", INTS),
        ("select_block_count", INTS),
        ("page_block_size", INTS),
        ("atten_mask_cols", INTS),
        ("has_q_lens", ctypes.c_bool),
        ("sparse_mode", INTS),
        ("default_scale", ctypes.c_bool),
        ("scale_value", ctypes.c_double),
    ]


class InferParams(ctypes.Structure):
    """ms_nsa::InferParams, the tiling data."""

    _fields_ = [
        *[
            (name, INTS)
            for name in (
                "batch", "tokens", "tokens_per_sequence", "num_blocks", "max_blocks", "atten_mask_cols",
            )
        ],
        *[
            (name, ctypes.c_int32)
            for name in (
                "kv_heads", "group", "d1", "d2", "select_block_size", "select_block_count", "page_block_size",
                "sparse_mode", "has_q_lens", "chunk_rows",
            )
        ],
        ("scale_value", ctypes.c_float),
        ("reserved", ctypes.c_int32),
    ]  # fmt: skip


def build(sources, name):
    """Path of a shared library of `sources`, compiled anew only when something changed."""
    headers = [path for folder in FOLDERS for path in folder.glob("*.h")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*sources, *headers))).hexdigest()[:16]
    target = ROOT / "build" / "ascendc" / f"{name}-{digest}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        include = [f"-I{folder}" for folder in FOLDERS]
        flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["g++", *flags, *include, *map(str, sources), "-o", str(target)], check=True)
    return target


@functools.cache
def library():
    here = pathlib.Path(__file__).resolve().parent
    return ctypes.CDLL(str(build([here / "host.cpp", *sorted((ASCENDC / "op_host").glob("*_tiling.cpp"))], "host")))


def tile_infer(shapes, aic_cores):
    """(InferParams, block_dim, workspace bytes); ValueError with the tiling's sentence."""
    params, block_dim, workspace = InferParams(), ctypes.c_int(), INTS()
    message = ctypes.create_string_buffer(512)
    failed = library().HostTileInfer(
        ctypes.byref(shapes), aic_cores, ctypes.byref(params), ctypes.byref(block_dim), ctypes.byref(workspace),
        message, len(message),
    )  # fmt: skip
    if failed:
        raise ValueError(message.value.decode())
    return params, block_dim.value, workspace.value


def shapes_of(case):
    """InferShapes of a PagedCase."""
    leading = case.query.shape[:2] if case.layout != "TND" else (len(case.query), 1)
    mask = case.atten_mask
    return InferShapes(
        layout=LAYOUTS.index(case.layout),
        batch=len(case.block_table),
        leading=leading,
        head_num=case.head_num,
        key_value_head_num=case.key_value_head_num,
        d1=case.key_rows.shape[2],
        d2=case.value_rows.shape[2],
        num_blocks=len(case.key),
        max_blocks=case.block_table.shape[1],
        select_block_size=case.select_block_size,
        select_block_count=case.select_block_count,
        page_block_size=case.page_block_size,
        atten_mask_cols=0 if mask is None else mask.shape[1],
        has_q_lens=case.actual_seq_qlen is not None,
        sparse_mode=case.sparse_mode,
        default_scale=case.scale_value is None,
        scale_value=case.scale_value or 0.0,
    )
