# SPDX-License-Identifier: Apache-2.0
"""The time model: published figures within 10 %, what shares and joins, and its outputs."""

import json

import numpy as np
import pytest

from twin import calibration, faults, plot, twin

FIGURES = calibration.figures()


@pytest.mark.parametrize("figure", FIGURES, ids=[f.name for f in FIGURES])
def test_calibration(figure):
    modelled, error = figure.row()
    assert abs(error) <= 0.10, f"{figure.name}: modelled {modelled:.4g} {figure.unit}, published {figure.published:g}"


def test_the_page_holds_the_measured_lines():
    page = (faults.KERNELS.parent / "TIME.md").read_text()
    assert "\n".join(calibration.lines(("measured",))) in page, "TIME.md: take them from `python -m twin.calibration`"
    kinds = [figure.kind for figure in FIGURES]
    assert f"all {len(kinds)} lines" in page and f'"measured", {kinds.count("measured")} lines' in page
    assert f'"formula", {kinds.count("formula")}, and "model", {kinds.count("model")}:' in page


def test_calibration_kernels_are_correct():
    """The same kernels with all checks on: no report."""
    data = np.zeros((64, 512), np.float16)
    kernel = calibration._kernel()
    vector = {"read", "repeats", "conflicts", "masks_set", "masks_kept"}
    cases = [("calibrate_vector" if op in vector else "calibrate_cube", op) for op in calibration._OPS]
    cases.append(("calibrate_cube", "read"))
    for entry, op in cases:
        tiling = np.zeros(1, calibration._TILING)
        tiling[0] = (calibration._OPS.index(op), 64, 64, 64, 16, 64, 1, 1, 4, 1, 64)
        kernel.launch(entry, [data, tiling])


def read(blocks, figures=None, rows=64):
    data = np.zeros((blocks * rows, 4096), np.float16)
    values = {"m": blocks * rows, "n": 4096, "tile_m": 16, "tile_n": 4096}
    return calibration.launch("calibrate_vector", "read", data, blocks, figures, **values)


def test_cores_share_hbm():
    """Few cores run at their ports, many at an even part of HBM."""
    one, twelve, all_cores = read(1), read(12), read(48)
    assert one["modelled_us"] == pytest.approx(64 * 8192 / 124e3, rel=0.02)
    assert twelve["modelled_us"] == pytest.approx(one["modelled_us"], rel=0.02)
    assert all_cores["modelled_us"] == pytest.approx(48 * 64 * 8192 / 1490e3, rel=0.02)


def test_figures_can_be_replaced():
    slow = read(48, {"hbm_gbs": 745})
    assert slow["modelled_us"] == pytest.approx(2 * read(48)["modelled_us"], rel=0.02)
    assert slow["figures"]["hbm_gbs"] == 745
    with pytest.raises(RuntimeError, match="no figure"):
        read(1, {"hbm": 1})


@pytest.fixture(scope="module")
def matmul():
    """A launch of the tiled matmul on two blocks: cube and vector cores, workspace, cross-core flags."""
    rng = np.random.default_rng(1)
    m, n, k, blocks = 200, 300, 160, 2
    a, b = (rng.standard_normal(shape).astype(np.float16) for shape in ((m, k), (k, n)))
    tiling = np.zeros(1, np.dtype([("m", "u4"), ("n", "u4"), ("k", "u4"), ("scale", "f4")]))
    tiling[0] = (m, n, k, 0.5)
    arguments = [a, b, twin.output((m, n), np.float16), twin.workspace(blocks * 2 * 64 * 96 * 4), tiling]
    kernel = twin.compile_kernel(faults.KERNELS / "matmul_scale.cpp")
    return kernel.launch("matmul_scale", arguments, block_dim=blocks, trace=True)


def slices(result):
    events = json.loads(result.trace)["traceEvents"]
    return [e for e in events if e["ph"] == "X"]


def test_bytes_of_paths(matmul):
    """Every tile of A and B once for each tile of C, the product once to the workspace and back."""
    tiles = [(min(64, 200 - i), min(96, 300 - j)) for i in range(0, 200, 64) for j in range(0, 300, 96)]
    paths = matmul.timing["bytes"]
    assert paths["GM->L1"] == sum((m + n) * 160 * 2 for m, n in tiles)
    assert paths["L0C->GM"] == 200 * 300 * 4
    assert paths["GM->UB"] == sum(m * 96 * 4 for m, _ in tiles)
    assert paths["UB->GM"] == 200 * 300 * 2
    assert sum(c["bytes"].get("GM->L1", 0) for c in matmul.timing["cores"]) == paths["GM->L1"]


def test_utilisation(matmul):
    """Cube steps of 16x16x16 over cube cores and time."""
    tiles = [(min(64, 200 - i), min(96, 300 - j)) for i in range(0, 200, 64) for j in range(0, 300, 96)]
    steps = sum(-(-m // 16) * -(-n // 16) * 10 for m, n in tiles)
    expected = steps / (2 * matmul.timing["modelled_cycles"])
    assert matmul.timing["cube_utilisation"] == pytest.approx(expected, abs=2e-4)
    for core in matmul.timing["cores"]:
        assert max(core["busy_share"].values()) <= 1
        assert core["busy"]["S"] <= core["modelled_cycles"] <= matmul.timing["modelled_cycles"]


def test_trace_is_valid(matmul):
    """Chrome trace-event form as Perfetto reads it: names first, complete events, none overlaps its neighbour."""
    trace = json.loads(matmul.trace)
    assert trace["displayTimeUnit"] in ("ms", "ns")
    assert trace["otherData"]["modelled"] == matmul.timing
    named = set()
    lines = {}
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int) and event["ts"] >= 0
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and event["args"]["name"]
            named.add((event["pid"], event["tid"]))
            continue
        assert event["ph"] == "X" and event["dur"] >= 0 and event["name"] and event["cat"]
        lines.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    assert set(lines) <= named
    for spans in lines.values():
        spans.sort()
        assert all(a[1] <= b[0] + 1e-4 for a, b in zip(spans, spans[1:]))
    end = max(s[-1][1] for s in lines.values())
    assert end == pytest.approx(matmul.timing["modelled_us"], abs=0.1)


def test_flags_join_pipes(matmul):
    """No Mmad before the loads of its operands, no Fixpipe before the last Mmad of its tile."""
    cube = [e for e in slices(matmul) if e["pid"] == 0]
    loads, products, fixes = ([e for e in cube if e["name"] == name] for name in ("LoadData", "Mmad", "Fixpipe"))
    per_product = len(loads) / len(products)
    assert per_product > 1
    first_loads = loads[: int(per_product)]
    assert products[0]["ts"] >= max(e["ts"] + e["dur"] for e in first_loads) - 1e-4
    for fix, product in zip(fixes, products[1::2]):
        assert fix["ts"] >= product["ts"] + product["dur"] - 1e-4
    waits = [e for e in slices(matmul) if e["name"] == "CrossCoreWaitFlag" and e["cat"] == "wait"]
    assert waits


def test_unit_flag_overlaps():
    """With the unit flag Fixpipe starts with the last Mmad and ends after it; without, it starts behind it."""
    kernel = calibration._kernel()
    for flag in (0, 1):
        tiling = np.zeros(1, calibration._TILING)
        tiling[0] = (calibration._OPS.index("unit_flag"), 128, 128, 512, 1, 1, 1, 1, 4, flag, 0)
        result = kernel.launch("calibrate_cube", [None, tiling], trace=True)
        fix = next(e for e in slices(result) if e["name"] == "Fixpipe")
        last = [e for e in slices(result) if e["name"] == "Mmad"][-1]
        ends = last["ts"] + last["dur"]
        assert fix["ts"] + fix["dur"] > ends
        assert fix["ts"] == pytest.approx(last["ts"] if flag else ends, abs=0.01)


def test_outputs(matmul, tmp_path, capsys):
    files = plot.save(matmul, tmp_path / "matmul")
    text = files[0].read_text()
    assert "modelled" in text and "AIC" in text and "GM->L1" in text
    assert json.loads(files[1].read_text()) == matmul.timing
    assert files[3].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    plot.main([str(files[2]), "--png", str(tmp_path / "again.png"), "--cores", "2"])
    assert "cube utilisation" in capsys.readouterr().out
    assert (tmp_path / "again.png").stat().st_size > 5000
