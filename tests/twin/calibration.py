# SPDX-License-Identifier: Apache-2.0
"""The published measurements, each repeated on the time model. `python -m twin.calibration` prints the table."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from twin import faults, twin

_TILING = np.dtype(
    [(n, "i8") for n in ["op", "m", "n", "k", "tile_m", "tile_n", "rounds", "parts", "loops", "unit_flag", "width"]]
)
_OPS = [
    "read",
    "load_a",
    "load_b",
    "transpose_a",
    "transpose_b",
    "bias",
    "int8",
    "half",
    "float",
    "unit_flag",
    "fix",
    "repeats",
    "conflicts",
    "load3d_a",
    "load3d_b",
    "fixpipe_buffer",
    "masks_set",
    "masks_kept",
]
# The measured matrix of the data_copy sample, and what of it a core reads here.
_FULL_BYTES = 12288 * 12288 * 2


@dataclasses.dataclass
class Figure:
    """One published number and how to get it from the model."""

    name: str
    published: float
    unit: str
    source: str
    kind: str  # measured on a device; formula or model: what its source computes from measurements
    modelled: functools.partial

    def row(self) -> tuple[float, float]:
        value = self.modelled()
        return value, value / self.published - 1


@functools.cache
def _kernel() -> twin.Kernel:
    return twin.compile_kernel(faults.KERNELS / "calibration.cpp")


def launch(entry: str, op: str, data: np.ndarray | None = None, blocks: int = 1, figures=None, **values) -> dict:
    """What the model says about one run."""
    tiling = np.zeros(1, _TILING)
    defaults = {"rounds": 1, "parts": 1, "loops": 1, "width": values.get("n", 0)}
    for name, value in {**defaults, **values, "op": _OPS.index(op)}.items():
        tiling[name] = value
    result = _kernel().launch(
        entry, [data, tiling], block_dim=blocks, aic_cores=max(blocks, 24), checks=False, figures=figures
    )
    return result.timing


def read_us(entry, blocks, tile, columns=2048, rows=64, rounds=1, parts=1, shrink=None) -> float:
    """Time of reading the sample's matrix, from a smaller one of the same shape a core."""
    data = np.zeros((blocks * rows, columns), np.float16)
    figures = {"l2_bytes": 192 * 2**20 * data.nbytes / _FULL_BYTES} if shrink else None
    t = launch(
        entry, "read", data, blocks, figures, m=blocks * rows, n=columns, tile_m=tile[0], tile_n=tile[1],
        rounds=rounds, parts=parts,
    )  # fmt: skip
    return t["modelled_us"] * 12288 * (12287 if columns % 2 else 12288) * 2 / data.nbytes


def instruction_cycles(pipe, op, **values) -> float:
    """Busy cycles of one pipe, without the Fills that prepare L0A and L0B on MTE1."""
    fills = 2 * (65536 / 128 + 28) if pipe == "MTE1" else 0
    return launch("calibrate_cube", op, **values)["cores"][0]["busy"][pipe] - fills


def _copies() -> list[Figure]:
    page = "04_memory_access/data_copy"
    ub, l1 = ("calibrate_vector", 48), ("calibrate_cube", 24)
    reads = [
        ("GM->UB, tiles 64x1024, 48 AIV", 202.657, ub, (64, 1024), {}),
        ("GM->UB, tiles 64x64 (128-byte rows)", 220.772, ub, (64, 64), {"columns": 1024}),
        ("GM->UB, tiles 1x64 (single copies of 128 bytes)", 548.161, ub, (1, 64), {"columns": 512}),
        ("GM->UB, row stride off 512 bytes", 259.047, ub, (64, 1024), {"columns": 2047}),
        ("GM->L1 ND2NZ, tiles 64x256, 24 AIC", 214.519, l1, (64, 256), {}),
        ("GM->L1 ND2NZ, tiles 64x64", 283.508, l1, (64, 64), {}),
        ("GM->L1 ND2NZ, row stride off 512 bytes", 422.515, l1, (64, 256), {"columns": 2047}),
    ]
    again = {"columns": 3072, "rounds": 4, "shrink": True}
    reads += [
        ("GM->UB four times, larger than L2", 816.05, ub, (16, 768), {**again, "rows": 16}),
        ("GM->UB four times by quarters, from L2", 354.56, ub, (16, 768), {**again, "rows": 16, "parts": 4}),
        ("GM->L1 four times, larger than L2", 872.19, l1, (32, 768), {**again, "rows": 32}),
        ("GM->L1 four times by quarters, from L2", 397.80, l1, (32, 768), {**again, "rows": 32, "parts": 4}),
    ]
    return [
        Figure(name, us, "us", page, "measured", functools.partial(read_us, *where, tile, **options))
        for name, us, where, tile, options in reads
    ]


def read_gbs(rows, columns, stride) -> float:
    """Rate of one AIC alone that reads 64 tiles with one Nd2Nz each."""
    data = np.zeros((64 * rows, stride), np.float16)
    t = launch("calibrate_cube", "read", data, m=64 * rows, n=stride, tile_m=rows, tile_n=columns, width=columns)
    return 64 * rows * columns * 2 / t["modelled_us"] / 1e3


def _rows() -> list[Figure]:
    """catlass' GetBandwidth, evaluated: GB/s of an AIC by columns and stride in 16-bit elements."""
    shapes = [(128, 128), (128, 512), (64, 64), (64, 256), (192, 192), (192, 768), (256, 256)]
    rates = {32: (80, 60.5, 80, 43.7, 35.5, 71.1, 80), 16: (54.7, 41.3, 54.7, 29.9, 24.3, 48.6, 80)}
    # Four rows at a time reach 0.21 of the rate, where rows are no multiple of 512 bytes.
    rates[4] = tuple(0.21 * rate for rate in rates[32][:6])
    return [
        Figure(f"GM->L1 ND2NZ {rows} rows of {columns}, stride {stride}", rate, "GB/s", "catlass GetBandwidth", "model",
               functools.partial(read_gbs, rows, columns, stride))
        for rows, list_of_rates in rates.items()
        for (columns, stride), rate in zip(shapes, list_of_rates)
    ]  # fmt: skip


def _loads() -> list[Figure]:
    figures = []
    for op, rate in (("load_a", 256), ("load_b", 128), ("transpose_a", 256), ("transpose_b", 128)):
        for m, k in ((32, 32), (64, 64), (64, 128), (128, 128), (192, 128)):
            cycles = functools.partial(instruction_cycles, "MTE1", op, m=m, k=k)
            name = f"L1->L0{op[-1].upper()}{' transposed' if 'transpose' in op else ''} {m}x{k} b16"
            figures.append(Figure(name, m * k * 2 / rate + 28, "cycles", "load_data_perf", "formula", cycles))
    # The source gives 32 to 256 and 28.4 to 128 bytes a cycle; the model takes the best.
    for op, rate in (("load3d_a", 256), ("load3d_b", 128)):
        for m, k in ((32, 32), (64, 128), (128, 128)):
            cycles = functools.partial(instruction_cycles, "MTE1", op, m=m, k=k)
            name = f"L1->L0{op[-1].upper()} by 3D parameters {m}x{k} b16, at best"
            figures.append(Figure(name, m * k * 2 / rate + 50, "cycles", "load_data_perf", "formula", cycles))
    for n in (64, 128, 256):
        cycles = functools.partial(instruction_cycles, "MTE1", "bias", n=n)
        figures.append(Figure(f"L1->BT {n} float", n * 4 / 32 + 20, "cycles", "load_data_perf", "formula", cycles))
        cycles = functools.partial(instruction_cycles, "FIX", "fixpipe_buffer", n=n)
        figures.append(Figure(f"L1->FB {n} uint64_t", n * 8 / 32 + 20, "cycles", "load_data_perf", "formula", cycles))
    return figures


def macs_a_cycle(op: str, k: int) -> float:
    """Multiplications of one more cycle of the cube: the difference of two products, without their start."""
    few, many = (instruction_cycles("M", op, m=64, n=64, k=depth) for depth in (k, 2 * k))
    return 64 * 64 * k / (many - few)


def _cube() -> list[Figure]:
    figures = []
    for n, flag, cycles in ((256, 1, 4209), (256, 0, 4225), (128, 1, 2172), (128, 0, 2172)):
        busy = functools.partial(instruction_cycles, "M", "unit_flag", m=128, n=n, k=512, loops=8, unit_flag=flag)
        name = f"Mmad 128x{n}x512 in 8, unit flag {'on' if flag else 'off'}"
        figures.append(Figure(name, cycles, "cycles", "UnitFlag.md", "measured", busy))
    for op, k, macs in (("int8", 128, 8192), ("half", 64, 4096), ("float", 32, 1024)):
        rate = functools.partial(macs_a_cycle, op, k)
        figures.append(Figure(f"Mmad {op}, MAC a cycle", macs, "MAC", "mmad_perf", "formula", rate))
    # The source takes an instruction's start as 0: shapes where that is within its own error.
    for op, k0, shapes in (("int8", 32, [(128, 128), (256, 128), (512, 128)]), ("half", 16, [(128, 128), (256, 128)]),
                           ("float", 4, [(64, 64), (128, 64), (128, 128)])):  # fmt: skip
        for k, mn in shapes:
            busy = functools.partial(instruction_cycles, "M", op, m=mn, n=mn, k=k)
            figures.append(
                Figure(f"Mmad {mn}x{mn}x{k} {op}", (mn / 16) ** 2 * k / k0, "cycles", "mmad_perf", "formula", busy)
            )
    for m, n in ((16, 16), (32, 32), (64, 64), (128, 128), (128, 256)):
        busy = functools.partial(instruction_cycles, "FIX", "fix", m=m, n=n, k=16)
        figures.append(Figure(f"L0C->L1 half {m}x{n}", m * n / 64 + 20, "cycles", "fixpipe_perf", "formula", busy))
    return figures


def vector_repeat_cycles(op: str) -> float:
    """Cycles that one more repeat costs."""
    few, many = (launch("calibrate_vector", op, loops=loops)["cores"][0]["busy"]["V"] for loops in (10, 110))
    return (many - few) / 100


def mask_cycles(calls: int) -> float:
    """Scalar cycles of calls that each set their mask, over calls under a mask set once."""
    set_, kept = (
        launch("calibrate_vector", op, loops=calls)["cores"][0]["busy"]["S"] for op in ("masks_set", "masks_kept")
    )
    return set_ - kept


def start_us(blocks: int, cores: int) -> float:
    tiling = np.zeros(1, _TILING)
    tiling["op"] = len(_OPS)
    return (
        _kernel()
        .launch("calibrate_cube", [None, tiling], block_dim=blocks, aic_cores=cores)
        .timing["modelled_start_us"]
    )


def figures() -> list[Figure]:
    vector = [
        Figure("repeat of Add, no bank conflict", 1, "cycles", "add_high_performance", "formula",
               functools.partial(vector_repeat_cycles, "repeats")),
        Figure("repeat of Add, 8 blocks in one bank group", 8, "cycles", "bank conflict page", "formula",
               functools.partial(vector_repeat_cycles, "conflicts")),
        Figure("180 Adds that set their mask, over one mask for all", 720, "cycles", "mask reuse page", "formula",
               functools.partial(mask_cycles, 180)),
        Figure("start of a kernel on 20 of 24 cores", 1 + 7 * 20 / 24, "us", "catlass GetBandwidth", "model",
               functools.partial(start_us, 20, 24)),
    ]  # fmt: skip
    return [*_copies(), *_rows(), *_loads(), *_cube(), *vector]


def lines(kinds: tuple[str, ...] = ("measured", "formula", "model")) -> list[str]:
    """Rows of a Markdown table: published against modelled."""
    rows = []
    for f in figures():
        if f.kind not in kinds:
            continue
        value, error = f.row()
        difference = f"{100 * error:+.1f}".replace("-0.0", "+0.0")
        rows.append(f"| {f.name} | {f.kind} | {f.published:.4g} {f.unit} | {value:.4g} {f.unit} | {difference} % |")
    return rows


if __name__ == "__main__":
    print("\n".join(["| what | kind | published | modelled | difference |", "|---|---|---|---|---|", *lines()]))
