# SPDX-License-Identifier: Apache-2.0
"""The two pictures of a run: percent of peak by case, and time against length with dense attention's curve."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from bench.cases import FORWARD, LOCAL, RANDOM, in_series
from bench.work import break_even

_OURS, _LOCAL, _DENSE = "#1f5fa8", "#7aa6d8", "#c2571a"
_MACHINE_WIDTH = 95


def draw(run, folder):
    """Draws what the run has figures for; returns the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_percent_of_peak(run, folder / "percent_of_peak.png"), _time_by_length(run, folder / "time_by_length.png")]
    return [path for path in drawn if path]


def _save(figure, path):
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return path


def _caption(run):
    environment = run.environment
    line = f"{environment.threads} threads, {environment.isa}; {environment.machine}"
    return line if len(line) <= _MACHINE_WIDTH else line[: line.rfind(",", 0, _MACHINE_WIDTH)]


def _percent_of_peak(run, path):
    results = [result for result in run.results if result.timing and not result.case.series][::-1]
    if not results:
        return None
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.28 * len(results)))
    places = np.arange(len(results))
    colours = [_LOCAL if result.case.selection == LOCAL else _OURS for result in results]
    axes.barh(places, [100 * result.fraction for result in results], color=colours, height=0.7)
    for place, result in zip(places, results):
        if result.case.bar:
            bar = 100 * result.case.bar.fraction
            axes.plot([bar, bar], [place - 0.45, place + 0.45], color="black", linewidth=2)
        axes.text(
            1, place, f"{100 * result.fraction:.0f} % of {result.peak_name}", va="center", fontsize=7, color="white"
        )
    axes.set_yticks(places, [result.case.name for result in results], fontsize=8)
    axes.set_ylim(-0.7, len(results) - 0.3)
    axes.set_xlabel("percent of the peak measured in the same run; black: the bar")
    axes.set_title(_caption(run), fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    return _save(figure, path)


def lengths_of(run, selection):
    """(T, seconds) of the forward at T1 = T2 = T, ascending."""
    found = [
        (result.case.t1, result.seconds())
        for result in run.results
        if result.timing and in_series(result.case, "length") and result.case.selection == selection
    ]
    return sorted(found)


def _time_by_length(run, path):
    curves = [(RANDOM, False, _OURS, "random blocks"), (LOCAL, True, _LOCAL, "local and random blocks, causal")]
    curves = [(*curve, lengths_of(run, curve[0])) for curve in curves]
    if max(len(points) for *_, points in curves) < 3:
        return None
    figure, axes = plt.subplots(figsize=(8, 5))
    for _, causal, colour, label, ours in curves:
        style = "--" if causal else "-"
        axes.loglog(*zip(*ours), style, color=colour, marker="o", markersize=4, label=f"selected, {label}")
        dense = run.dense.get(causal, [])
        if dense:
            name = f"{run.dense_name}{', causal' if causal else ''}"
            axes.loglog(*zip(*dense), style, color=_DENSE, marker="s", markersize=4, label=f"dense, {name}")
            _mark(axes, break_even(ours, dense), style)
    lengths = sorted({length for *_, points in curves for length, _ in points})
    axes.set_xticks(lengths, [f"{t // 1024}k" if t >= 1024 else str(t) for t in lengths])
    axes.minorticks_off()
    axes.set_xlabel(f"T = T1 = T2; {FORWARD}, 16 query heads, 4 kv heads, 192/128, 16 blocks of 64, bfloat16")
    axes.set_ylabel("seconds a call")
    axes.set_title(_caption(run), fontsize=8)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    return _save(figure, path)


def _mark(axes, length, style):
    if length is not None:
        axes.axvline(length, color="grey", linestyle=style, linewidth=1)
        axes.text(length, axes.get_ylim()[0], f" {length:.0f}", fontsize=8, va="bottom")
