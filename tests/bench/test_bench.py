# SPDX-License-Identifier: Apache-2.0
"""The benchmark itself: its counts, its gate, its peaks and what it writes, at sizes of milliseconds."""

import csv
import re
import struct
from dataclasses import replace
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from bench import cases, family, gate, inputs, measure, operators, peaks, peers, report, session, speed_table, work
from bench.results import Check, Result
from ms_nsa import backend

SIZES = {"n2": 2, "d1": 40, "d2": 24, "select_block_size": 16, "select_block_count": 5}
TINY = [
    cases.named(cases.TrainingCase("", operator, 3, t1=t1, t2=150, selection=selection, **SIZES))
    for operator, t1 in ((cases.FORWARD, 53), (cases.BACKWARD, 37), (cases.TRAINING, 41))
    for selection in (cases.RANDOM, cases.LOCAL)
]
TINY += [
    cases.named(
        cases.DecodeCase(
            "", cases.DECODE, 3, batch=2, sequences=6, kv_len=192, page_block_size=32, selection=s, **SIZES
        )
    )
    for s in (cases.RANDOM, cases.LOCAL)
]
TINY_LENGTHS = [
    replace(cases.TrainingCase("", cases.FORWARD, 4, t1=t, t2=t, **SIZES), name=f"T={t}", series="length")
    for t in (96, 192, 384)
]


def _oracle_case(case, made):
    """A case whose selections() tells every visible row of the first call."""
    if case.operator != cases.DECODE:
        return made.selections()
    call = made.calls[0]
    rows = [inputs.one_sequence(case, made, call, row) for row in range(case.batch)]
    return (selection for sequence in rows for selection in sequence.selections())


def _counted(case, made):
    """FLOP and gathered bytes row by row, as operators.md defines them."""
    element, dims, flop, total = 2, case.d1 + case.d2, 0, 0
    for _, _, rows, count in _oracle_case(case, made):
        assert (count == 1).all()
        for _ in rows:
            forward, backward = 2 * case.group * dims, 2 * case.group * (3 * case.d1 + 2 * case.d2)
            forwards, backwards = case.operator != cases.BACKWARD, case.operator in (cases.BACKWARD, cases.TRAINING)
            flop += forwards * forward + backwards * backward
            total += forwards * element * dims + backwards * (element + 8) * dims
    return flop, total + _ends(case)


def _ends(case):
    """Bytes that are read or written once, whatever is selected."""
    if case.operator == cases.DECODE:
        queries = 2 * case.batch * case.n1 * (case.d1 + case.d2)
        return queries + 4 * case.batch * (case.n2 * case.select_block_count + case.kv_len // case.page_block_size)
    heads, dims = case.t1 * case.n1, case.d1 + case.d2
    forward = 2 * heads * dims + 4 * case.t1 * case.n2 * case.select_block_count + 64 * heads
    backward = 2 * heads * (case.d1 + 2 * case.d2) + (64 + 4 * case.d1) * heads
    backward += 6 * (heads * case.d1 + case.t2 * case.n2 * dims)
    parts = {cases.FORWARD: forward, cases.BACKWARD: backward, cases.TRAINING: forward + backward}
    return parts[case.operator]


@pytest.mark.parametrize("case", TINY, ids=str)
def test_flop_and_bytes_are_those_of_a_brute_force_count(case):
    made = inputs.make(case)
    rows = work.selected_rows(case, inputs.topk_of_call(case, made))
    assert (work.flop(case, rows), work.gather_bytes(case, rows)) == _counted(case, made)


def test_flop_at_the_published_sizes():
    case = cases.TrainingCase("", cases.FORWARD, 1, n2=1, t1=1, t2=4096)
    assert work.flop(case, 1024) == 655_360
    assert work.flop(replace(case, operator=cases.BACKWARD), 1024) == 1_703_936


@pytest.mark.parametrize(("available", "count"), [(1, 1), (3, 5), (16, 5), (1000, 16)])
def test_distinct_indices(available, count):
    drawn = inputs.distinct(np.random.default_rng(0), np.full((200, 3), available), count)
    present = np.sort(drawn, axis=-1)[..., max(0, count - available) :]
    assert (present >= 0).all() and (present < available).all()
    assert (np.diff(present, axis=-1) > 0).all()
    assert (drawn >= 0).sum() == 600 * min(available, count)
    assert len(np.unique(drawn[..., 0][drawn[..., 0] >= 0])) > min(available, 100) // 2


def test_local_selection_has_the_first_and_the_newest_blocks():
    own = np.arange(40)[:, None]
    for row, chosen in enumerate(inputs.local_plus_random(np.random.default_rng(0), own, 6)[:, 0]):
        present = sorted(chosen[chosen >= 0])
        assert present == sorted(set(present)) and len(present) == min(row + 1, 6)
        assert {0, max(row - 1, 0), row} <= set(present) <= set(range(row + 1))


def test_a_run_writes_figures_and_files(tmp_path, capsys):
    made = [replace(case, bar=cases.Bar(0.5, 0.7)) for case in TINY]
    assert session.run([*made, *TINY_LENGTHS], 2, tmp_path) == 0
    printed = capsys.readouterr().out
    for case in TINY:
        assert case.name in printed
    for word in ("machine", "versions", backend.current_isa(), "threads", "peak "):
        assert word in printed
    (path,) = tmp_path.glob("*.csv")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    measured = [row for row in rows if row["name"] in {case.name for case in TINY}]
    assert len(measured) == len(TINY)
    for row in measured:
        assert 0 < float(row["p20_s"]) <= float(row["p50_s"]) <= float(row["p80_s"])
        assert float(row["fraction"]) == pytest.approx(
            float(row["value"]) / float(row["peak_value"]), rel=1e-3, abs=1e-4
        )
        assert row["machine"] and "mindspore=" in row["versions"] and row["threads"]
    for name in ("percent_of_peak.png", "time_by_length.png"):
        data = (tmp_path / name).read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82") and min(width, height) > 200


def _spoiled(result, index):
    """The result with one of its arrays wrong in every element."""
    parts = list(result) if isinstance(result, tuple) else [result]
    array = parts[index].asnumpy()  # not every MindSpore multiplies bfloat16
    parts[index] = ms.Tensor((array.astype(np.float32) * 1.05).astype(array.dtype))
    return tuple(parts) if isinstance(result, tuple) else parts[0]


def _spoil(monkeypatch, index):
    """Makes every operator's result wrong by five percent in one output."""
    make_call = operators.make_call

    def spoiled(case, made):
        call = make_call(case, made)
        if case.operator == cases.DECODE:
            run = call.run
            call.run = lambda number: _spoiled(run(number), index)
            return call
        return lambda: _spoiled(call(), index)

    monkeypatch.setattr(operators, "make_call", spoiled)


@pytest.mark.parametrize(("case", "index"), [(TINY[0], 0), (TINY[0], 1), (TINY[0], 2), (TINY[2], 0), (TINY[2], 1),
                                             (TINY[3], 2), (TINY[4], 2), (TINY[-1], 0)])  # fmt: skip
def test_a_wrong_result_blocks_the_speed(case, index, monkeypatch, tmp_path, capsys):
    _spoil(monkeypatch, index)
    assert session.run([case], 1, tmp_path) == 1
    (line, *_) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(case.name)]
    assert "WRONG RESULT" in line and "/s" not in line and "%" not in line.split("WRONG")[0]
    (path,) = tmp_path.glob("*.csv")
    (row,) = [row for row in csv.DictReader(path.open(encoding="utf-8")) if row["name"] == case.name]
    assert not row["p50_s"] and not row["value"] and row["note"].startswith("WRONG RESULT")


def test_an_instruction_set_that_is_missing_is_said(capsys):
    case = replace(TINY[0], isa="neon" if "neon" not in backend.supported_isas() else "avx2")
    assert session.run([case], 1) == 0
    assert f"not run: this machine has no {case.isa}" in capsys.readouterr().out


def test_peaks_are_ordered_by_width():
    machine = peaks.Peaks(1, backend.supported_isas())
    found = {name: max(machine.sample(name) for _ in range(3)) for name in machine.names}
    assert all(value > 0.1 for value in found.values())
    if peaks.FMA_AVX2 in found:
        assert found[peaks.FMA_AVX2] > 1.5 * found[peaks.FMA_128]


@pytest.mark.parametrize("ahead", measure.PREFETCH_DISTANCES)
def test_the_row_loop_reads_every_selected_byte(ahead):
    """The sum that keeps the loads alive is the sum of the rows' words."""
    case = TINY[-2]
    made = inputs.decode_inputs(case)
    machine = peaks.Peaks(2, backend.supported_isas())
    before = machine.loaded_sum()
    machine.row_loads(case, made, made.calls[1], ahead)
    expected = 0
    for row in range(case.batch):
        sequence = inputs.one_sequence(case, made, made.calls[1], row)
        for _, head, rows, _ in sequence.selections():
            for array in (sequence.key_rows, sequence.value_rows):
                words = np.ascontiguousarray(array[rows, head]).view(np.uint64)
                expected += int(words.sum(dtype=np.uint64))
    assert (machine.loaded_sum() - before) % 2**64 == expected % 2**64


def test_row_loops_of_both_layouts_read_the_rows_of_the_call(monkeypatch):
    monkeypatch.setattr(family, "BATCH", 3)
    monkeypatch.setattr(family, "KV_LEN", 20 * family.BLOCK)
    asked = []
    recorder = SimpleNamespace(row_loads=lambda *arguments: asked.append(arguments) or 0.0)
    started = []
    for _ in family.layout_cases(recorder):
        started.append(asked[-1])
    machine, table, topk = (
        peaks.Peaks(2, backend.supported_isas()),
        *map(started[0][2].get, ("block_table", "topk_indices")),
    )
    for at, (sizes, made, call, ahead) in enumerate(started):
        before, expected = machine.loaded_sum(), 0
        machine.row_loads(sizes, made, call, ahead)
        for (sequence, head, _), block in np.ndenumerate(topk):
            place = (head,) if at else (slice(None), head)  # [N2, P, D], or [P, N2, D]
            for pages in (made.key, made.value):
                rows = np.ascontiguousarray(pages[table[sequence, block]][place])
                expected += int(rows.view(np.uint64).sum(dtype=np.uint64))
        assert (machine.loaded_sum() - before) % 2**64 == expected % 2**64


def test_the_best_way_of_a_peer_counts():
    """Names of ways hold commas."""
    peers = "PyTorch gather + bmm 45.6x, PyTorch masked SDPA, value padded, first 8 tokens 10.4x, MindSpore, fp32 2.0x"
    assert speed_table._ratio({"peers": peers}) == "10.4x"
    assert speed_table._ratio({"peers": ""}) == ""


def test_percentiles_and_break_even():
    assert [measure.percentile([4, 1, 3, 2, 5], percent) for percent in (0, 20, 50, 80, 100)] == [1, 1.8, 3, 4.2, 5]
    ours, dense = [(256, 2.0), (512, 4.0), (1024, 8.0)], [(256, 1.0), (512, 4.0), (1024, 16.0)]
    assert work.break_even(ours, dense) == pytest.approx(512)
    assert work.break_even(ours, [(t, 9 * s) for t, s in ours]) is None


def test_bars_are_judged_on_their_own_instruction_set_only():
    timing = measure.Timing(seconds=[1.0], peak=[10.0])
    case = replace(cases.BAR_CASES[0], bar=cases.Bar(0.5))
    result = Result(case, case.bar_isa, 2, selected_rows=10**6, timing=timing)
    assert result.fraction == pytest.approx(result.flop / 1e10) and result.holds is True
    assert replace(result, isa="avx2").holds is None
    assert Check("x", 2.0, "", 1.9, at_least=True).holds and not Check("x", 2.0, "", 1.9).holds
    assert "MISSES" in report.check_line(Check("x", 2.0, "", 1.9))


def test_registry_names_are_unique_and_the_bars_complete():
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)
    assert sum(case.bar is not None for case in cases.CASES) == 18


@pytest.mark.parametrize("library", ["torch", "mindspore"])
@pytest.mark.parametrize("operator", [cases.FORWARD, cases.TRAINING])
def test_peers_compute_the_same(library, operator):
    """All but FlexAttention, whose compilation takes minutes; a run checks it like the others."""
    pytest.importorskip(library)
    case = cases.named(cases.TrainingCase("", operator, 3, t1=70, t2=160, **SIZES))
    made = inputs.make(case)
    ways, to_numpy = peers.ways_of(library, case, made)
    is_right = peers.checker(made, to_numpy)
    for name, prepare in ways.items():
        if "FlexAttention" not in name:
            out = prepare()()
            is_right(out)
            with pytest.raises(AssertionError, match="RMS"):
                is_right(out * 1.1)
    assert ways or (library, operator) == ("mindspore", cases.TRAINING)


def test_calls_beside_other_work_do_not_count(monkeypatch):
    times = iter([0.5, 0.5, 0.5, *[1.0, 9.0, 1.2, 8.0, 1.1, 1.3]])
    monkeypatch.setattr(measure, "seconds_of", lambda call: next(times))
    peak = iter([100, 95, 40, 100, 96, 99, 97, 98])
    timing = measure.undisturbed(None, lambda: next(peak), repeats=3)
    assert (timing.seconds, timing.disturbed) == ([1.0, 8.0, 1.1], False)
    times, peak = iter([0.5] * 3 + [2.0, 3.0, 4.0]), iter([100, 50, 100, 50])
    timing = measure.undisturbed(None, lambda: next(peak), repeats=1)
    assert (timing.seconds, timing.peak, timing.disturbed) == ([2.0, 3.0, 4.0], [100], True)


SMALL_LAYER = ("--head-num", "4", "--group", "2", "--head-dim", "16", "--hidden-size", "32", "--batch", "2")


def test_the_layer_against_dense_attention(tmp_path, capsys):
    from bench import __main__ as command
    from bench import layer_results

    kinds = ("gradient", "decode", "decode_float32")
    sizes = ("--lengths", "64", "128", "--sliced-from", "128", "--repeats", "1", *SMALL_LAYER)
    assert command.main(["layer", "--kinds", *kinds, *sizes, "--output", str(tmp_path)]) == 0
    rows, environment = layer_results.read(tmp_path / "layer.csv")
    found = {(row.kind, row.scope, row.length): row for row in rows}
    measured = [(kind, "layer", length) for length in (64, 128) for kind in kinds]
    measured += [("gradient", "attention", 64), ("gradient", "attention", 128), ("gradient", "check", 64)]
    measured += [("step", "PyNative", 64), ("step", "Graph", 64)]
    assert sorted(found) == sorted(measured)
    assert all(min(row.sparse, row.dense) > 0 for row in rows if row.scope != "layer" or row.length < 128)
    assert found["gradient", "layer", 128].dense_by.endswith("1 of 2 groups of heads")
    assert found["gradient", "layer", 128].sparse_mb > 0 and found["gradient", "layer", 64].dense_mb > 0
    assert environment["threads"] and (tmp_path / "layer.png").is_file()
    printed = capsys.readouterr().out
    assert re.search(r"^about \d+ minutes, at most 25$", printed, flags=re.MULTILINE)
    assert re.search(r"^\| 64 \| \S+ / \S+ ms, \d+% \|", printed, flags=re.MULTILINE)
    assert "faster than dense from" in printed and "us in Graph mode" in printed


def test_the_layer_ends_in_time_and_lets_cases_be_chosen(tmp_path, capsys):
    from bench import layer

    sizes = ("--lengths", "64", *SMALL_LAYER, "--output", str(tmp_path))
    assert layer.main(["--list", "--only", "^decode layer|check", "--sliced-from", "64", *sizes]) == 0
    assert capsys.readouterr().out.split("\n") == ["decode layer 64", ""]
    assert layer.main(["--only", "^decode layer", "--minutes", "0", *sizes]) == 1
    assert "decode layer 64: left out, it would take longer" in capsys.readouterr().out
    assert layer.is_whole(layer.parse(["--minutes", "9"])) and not layer.is_whole(layer.parse(sizes[:2]))


def test_what_the_layer_costs_is_estimated_from_its_flop():
    from bench import layer, layer_calls

    session = layer.Session(layer.parse(["--no-memory"]), 1e-12)
    long, short = (session.estimate(layer.Case("forward", "layer", length)) for length in (65536, 16384))
    sparse, dense = layer_calls.flop("forward", "layer", 65536, session.o)
    assert long == pytest.approx(4 * 2 * sparse * 1e-12) and sparse < dense / 3
    assert short == pytest.approx(4 * sum(layer_calls.flop("forward", "layer", 16384, session.o)) * 1e-12)
    session.learn(layer.Case("forward", "layer", 65536), 1000)
    assert session.seconds_per_flop == pytest.approx(2e-12)


def test_text_of_the_layer_in_both_languages():
    from bench.layer_results import Row, break_even, markdown

    rows = [Row("forward", "layer", 1024, 0.2, 0.1, "ms_nsa", 1.0, 10, 20)]
    rows += [Row("forward", "layer", length, 1.0, 3.0, "ms_nsa", 2.0, 30, 40) for length in (2048, 4096)]
    rows += [Row("gradient", "check", 2048, 1.1, 1.0, "ms_nsa"), Row("step", "Graph", 64, 5e-4, 4e-4, "ms_nsa")]
    assert break_even(rows, "forward", "layer") == 2048
    english, chinese = (markdown(rows, readme) for readme in ("README.md", "README_CN.md"))
    for text in (english, chinese):
        assert "| 2048 | 1000 / 3000 ms, 150% |" in text and "| 1024 | 10 / 20 MB |" in text
    assert "layer, forward from 2048 tokens on" in english and "1.10 (with gradient)" in english
    assert "整层，前向从 2048 个 token 起" in chinese and "Graph 模式 500 us" in chinese


def test_memory_of_the_layer_counts_its_results():
    from bench import layer, layer_child

    found = layer_child.in_fresh_process("forward", "layer", "sparse", 8192, layer.parse(SMALL_LAYER))
    assert 8192 * 32 * 2 < found["extra_bytes"] < 200 << 20  # x in bfloat16, and what is made of it
    failed = layer_child.in_fresh_process("forward", "layer", "no such", 64, layer.parse(SMALL_LAYER))
    assert "no such" in failed["failure"]


def test_the_family_against_its_peaks(tmp_path, monkeypatch):
    from bench import __main__ as command

    for name, size in {"N2": 1, "D1": 32, "D2": 16, "WINDOW": 64, "BATCH": 2, "KV_LEN": 512, "COUNT": 4}.items():
        monkeypatch.setattr(family, name, size)
    small = ("--tokens", "128", "--groups", "2", "--repeats", "1", "--output", str(tmp_path))
    assert command.main(["family", *small]) == 0
    monkeypatch.setattr(speed_table, "RESULTS", tmp_path)
    text = speed_table.family_text("README.md")
    assert text.count("| compressed attention T=") == 4 and "| choice of blocks T=512 G=2 |" in text
    assert "| compression, decode B=2, windows: 1, above a bare call |" in text


@pytest.mark.parametrize(("name", "index"), [("NsaCompressAttention", 0), ("NsaCompressAttention", 1),
                                             ("NsaWindowAttention", 0)])  # fmt: skip
def test_a_wrong_result_of_the_family_blocks_the_speed(name, index, monkeypatch):

    operator = getattr(ms_nsa, name)
    call = operator.__call__

    def wrong(cell, *inputs):
        outputs = list(call(cell, *inputs))
        outputs[index] = outputs[index] + 1
        return tuple(outputs)

    monkeypatch.setattr(operator, "__call__", wrong)
    with pytest.raises(gate.WrongResult):
        next(family.attention_cases(128, 1))
