# SPDX-License-Identifier: Apache-2.0
"""Tables and timelines of modelled times. `python -m twin.plot trace.json --png timeline.png` draws a saved trace."""

from __future__ import annotations

import argparse
import json
import pathlib
import typing

_PIPES = ["S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"]


def table(timing: dict) -> str:
    """What the time model says about one launch, as text."""
    lines = [
        f"modelled {timing['modelled_cycles']:.0f} cycles = {timing['modelled_us']:.1f} us"
        f" at {timing['clock_ghz']:g} GHz, after {timing['modelled_start_us']:.1f} us of start",
        f"cube utilisation {timing['cube_utilisation']:.1%}, vector utilisation {timing['vector_utilisation']:.1%}",
        f"from HBM {timing['hbm_bytes'] / 1e6:.3f} MB, from L2 {timing['l2_hit_bytes'] / 1e6:.3f} MB",
        "",
        f"{'core':<16}{'cycles':>10}{'instr.':>9}{'util.':>8}" + "".join(f"{p:>8}" for p in _PIPES),
    ]
    for core in timing["cores"]:
        share = core["busy_share"]
        lines.append(
            f"{core['core']:<16}{core['modelled_cycles']:>10.0f}{core['instructions']:>9}{core['utilisation']:>8.1%}"
            + "".join(f"{share[p]:>8.1%}" if p in share else f"{'-':>8}" for p in _PIPES)
        )
    lines += ["", f"{'path':<16}{'bytes':>14}{'GB/s':>10}"]
    for path, count in timing["bytes"].items():
        rate = count / timing["modelled_us"] / 1e3 if timing["modelled_us"] else 0
        lines.append(f"{path:<16}{count:>14}{rate:>10.1f}")
    return "\n".join(lines)


def _rows(trace: dict, cores: int) -> tuple[list, dict]:
    """(process, thread) of every line of the drawing, top down, with its name; and the slices of each."""
    names, threads, slices = {}, {}, {}
    for event in trace["traceEvents"]:
        key = event["pid"], event["tid"]
        if event["ph"] == "M" and event["name"] == "process_name":
            names[event["pid"]] = event["args"]["name"].replace(" (modelled)", "")
        elif event["ph"] == "M":
            threads[key] = event["args"]["name"]
        else:
            slices.setdefault(key, []).append(event)
    shown = [(k, f"{names[k[0]]} {threads[k]}") for k in sorted(threads) if k[0] < cores and k in slices]
    return shown, slices


def draw(trace: dict, png: typing.Any, cores: int = 6) -> None:
    """One line for each pipe of the first `cores` cores; waits of the scalar unit in grey."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {p: f"C{i}" for i, p in enumerate(_PIPES)}
    rows, slices = _rows(trace, cores)
    figure, axes = pyplot.subplots(figsize=(14, 1.2 + 0.28 * len(rows)), layout="constrained")
    for line, (key, name) in enumerate(rows):
        for waits in (False, True):
            bars = [(e["ts"], e["dur"]) for e in slices[key] if (e["cat"] == "wait") == waits]
            colour = "lightgrey" if waits else colours[name.split()[-1]]
            axes.broken_barh(bars, (line - 0.4, 0.8), facecolors=colour, linewidth=0)
    axes.set_yticks(range(len(rows)), [name for _, name in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    timing = trace["otherData"]["modelled"]
    axes.set_xlim(0, max(timing["modelled_us"], 1e-3))
    axes.set_xlabel("modelled time (us)")
    more = f", {cores} of {len(timing['cores'])} cores" if len(timing["cores"]) > cores else ""
    axes.set_title(
        f"modelled: {timing['modelled_cycles']:.0f} cycles, cube {timing['cube_utilisation']:.0%},"
        f" vector {timing['vector_utilisation']:.0%}{more}",
        fontsize=9,
    )
    figure.savefig(png, dpi=110)
    pyplot.close(figure)


def save(result: typing.Any, stem: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes <stem>.txt, .json, .trace.json (for Perfetto) and .png of a launch with trace=True."""
    stem = pathlib.Path(stem)
    files = [stem.with_name(stem.name + end) for end in (".txt", ".json", ".trace.json", ".png")]
    files[0].write_text(table(result.timing) + "\n")
    files[1].write_text(json.dumps(result.timing, indent=1) + "\n")
    files[2].write_text(result.trace)
    draw(json.loads(result.trace), files[3])
    return files


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="twin.plot", description=__doc__)
    parser.add_argument("trace", type=pathlib.Path, help="trace of a launch (Result.trace, or plot.save)")
    parser.add_argument("--png", type=pathlib.Path, help="file for the timeline")
    parser.add_argument("--cores", type=int, default=6, help="cores to draw, default 6")
    options = parser.parse_args(arguments)
    trace = json.loads(options.trace.read_text())
    print(table(trace["otherData"]["modelled"]))
    if options.png:
        draw(trace, options.png, options.cores)


if __name__ == "__main__":
    main()
