"""The figures of bench.py as tables and as a picture: medians of the rounds, ratios taken within each round.

    python benchmarks/bench_report.py

writes the section of docs/benchmarks.md and speed.svg anew from results.json.
"""

import json
import os
import re
from collections.abc import Callable
from statistics import median
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "..", "docs", "benchmarks.md")
RESULTS = os.path.join(HERE, "results.json")
PICTURE = os.path.join(HERE, "speed.svg")
# Readable on white and on black.
INK, OURS, OTHERS, BOUND = "#7a828e", "#2f81f7", "#8b949e", "#e0823d"

WAYS = {
    "openvino_bf16": "this project, OpenVINO, bfloat16",
    "openvino": "this project, OpenVINO",
    "tensorflow": "this project, TensorFlow",
    "tf_data": "tf.data and predict",
    "tutorials": "the tutorials' way",
    "one_by_one": "one picture at a time",
    "thingsvision": "thingsvision",
    "embetter": "embetter, random weights",
}
OWN = ("openvino_bf16", "openvino", "tensorflow")

Results = dict[str, Any]
Run = dict[str, Any]


def main() -> None:
    with open(RESULTS, encoding="utf-8") as file:
        record(json.load(file))


def record(results: Results) -> None:
    """Write results.json, speed.svg and the section of the page."""
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    for path, text in (
        (RESULTS, json.dumps(results, indent=1) + "\n"),
        (PICTURE, picture(results)),
        (PAGE, with_section(page, results)),
    ):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def with_section(page: str, results: Results) -> str:
    """The page with what was measured between its two marks."""
    block = f"<!-- bench -->\n{tables(results)}\n<!-- end of bench -->"
    return re.sub(r"<!-- bench -->.*<!-- end of bench -->", lambda _: block, page, flags=re.DOTALL)


def tables(results: Results) -> str:
    """Everything that was measured, as Markdown."""
    machine, versions = results["machine"], results["versions"]
    peers = {name: _runs(results, name)[0]["version"] for name in ("thingsvision", "embetter") if _runs(results, name)}
    libraries = ", ".join(f"{name} {number}" for name, number in (versions | peers).items())
    load = machine["load_at_start"]
    busy = f" The machine was busy with other work (load {load:.1f} before the start)." if load > 0.5 else ""
    lines = [
        f"`{results['command']}`, {results['date']}: {results['pictures']} photographs, {results['backbone']}, "
        f"{machine['cores']} cores ({machine['processor']}), medians of {results['rounds']} rounds; {libraries}.{busy}",
        "",
        "| files to features | pictures/s | to the tutorials' way | of the bound | process, s | peak memory, MB |",
        "|---|---|---|---|---|---|",
        *(_way(results, name) for name in WAYS if _runs(results, name)),
        "",
        "| | this project | the others | ratio |",
        "|---|---|---|---|",
        *_comparisons(results),
    ]
    if results["left_out"]:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in results["left_out"].items())
        lines += ["", f"Left out here: {reasons}."]
    return "\n".join(lines)


def picture(results: Results) -> str:
    """Bars of pictures a second, the bound as a mark on this project's own: SVG."""
    bars = [(name, _rate(results, name), _bound(results, name)) for name in WAYS if _runs(results, name)]
    most = max(max(rate, bound or 0) for _, rate, bound in bars)
    height, left, width = 26, 230, 380
    parts = []
    for number, (name, rate, bound) in enumerate(bars):
        top = 30 + number * height
        colour = OURS if name in OWN else OTHERS
        parts.append(f'<text x="{left - 8}" y="{top + 13}" text-anchor="end">{WAYS[name]}</text>')
        parts.append(f'<rect x="{left}" y="{top}" width="{rate / most * width:.1f}" height="18" fill="{colour}"/>')
        end = max(rate, bound or 0) / most * width
        parts.append(f'<text x="{left + end + 8:.1f}" y="{top + 13}">{_number(rate)}</text>')
        if bound:
            x = left + bound / most * width
            parts.append(f'<path d="M{x:.1f} {top - 3}v24" stroke="{BOUND}" stroke-width="2"/>')
    total = 30 + len(bars) * height + 6
    title = f"files to features, pictures/s: {results['pictures']} photographs, {results['backbone']}, "
    title += f"{results['machine']['cores']} cores"
    legend = f'<tspan fill="{BOUND}">|</tspan> the bound: decoding and forward pass alone'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {total + 20}" font-family="sans-serif" '
        f'font-size="12" fill="{INK}">\n<text x="8" y="16" font-weight="bold">{title}</text>\n'
        + "\n".join(parts)
        + f'\n<text x="{left}" y="{total + 8}">{legend}</text>\n</svg>\n'
    )


def _way(results: Results, name: str) -> str:
    ratio = _ratio(results, name, "tutorials", _run_rate)
    bound = _ratio(results, name, f"bound_{name}", _run_rate) if name in OWN else None
    count = _runs(results, name)[0]["pictures"]
    what = WAYS[name] if count == results["pictures"] else f"{WAYS[name]} ({count} photographs)"
    cells = [
        _number(_rate(results, name)),
        f"{ratio:.2f}" if ratio else "-",
        f"{bound:.2f}" if bound else "-",
        f"{_median(results, name, 'process_seconds'):.1f}",
        f"{_median(results, name, 'peak_mb'):.0f}",
    ]
    return f"| {what} | {' | '.join(cells)} |"


def _comparisons(results: Results) -> list[str]:
    """Rows of the second table; those whose runs failed are left out."""

    def passes(name: str) -> str:
        return f"{_median(results, name, 'forward_passes'):.0f} passes"

    rows = []

    def compare(what: str, ours: str, others: str, figure: Callable[[Run], float], unit: str, count: bool) -> None:
        if _runs(results, ours) and _runs(results, others):
            pair = [median(map(figure, _runs(results, name))) for name in (ours, others)]
            shown = [
                f"{_number(value)} {unit}" + (f", {passes(name)}" if count else "")
                for value, name in zip(pair, (ours, others), strict=True)
            ]
            ratio = 1 / (_ratio(results, ours, others, figure) or 1)
            rows.append(f"| {what} | {shown[0]} | {shown[1]} | {_number(ratio)} |")

    count = results["pictures"]
    new = _runs(results, "more")[0]["pictures"] - count if _runs(results, "more") else 0
    grid = _runs(results, "grid")[0]["pictures"] if _runs(results, "grid") else 0
    seconds, whole = (lambda run: run["seconds"]), (lambda run: run["process_seconds"])
    for name in ("tutorials", "tf_data", "thingsvision", "embetter"):
        compare(
            f"files to features, a picture; {WAYS[name]}",
            "openvino",
            name,
            lambda run: 1000 / _run_rate(run),
            "ms",
            False,
        )
    compare("features again, nothing new; the tutorials' way", "again", "tutorials", seconds, "s", True)
    compare(f"{new} new among {count + new}; the tutorials' way for {count}", "more", "tutorials", seconds, "s", True)
    compare(f"5x5 grid search on {grid}; scikit-learn's `Pipeline(memory=)`", "grid", "grid_memory", seconds, "s", True)
    compare(
        "one prediction in a new process; the tutorials' way",
        *("predict_cold", "predict_cold_tutorials"), whole, "s", False,
    )  # fmt: skip
    compare(
        "its peak memory",
        *("predict_cold", "predict_cold_tutorials"), lambda run: run["peak_mb"], "MB", False,
    )  # fmt: skip
    compare(
        "one more prediction in the same process",
        *("predict_warm", "predict_warm_tutorials"), lambda run: median(run["milliseconds"][1:]), "ms", False,
    )  # fmt: skip
    return rows


def _runs(results: Results, name: str) -> list[Run]:
    return [run for run in results["runs"] if run["name"] == name]


def _run_rate(run: Run) -> float:
    return run["pictures"] / run["seconds"]


def _rate(results: Results, name: str) -> float:
    return median(map(_run_rate, _runs(results, name)))


def _bound(results: Results, name: str) -> float | None:
    return _rate(results, f"bound_{name}") if name in OWN and _runs(results, f"bound_{name}") else None


def _median(results: Results, name: str, figure: str) -> float:
    return median(run[figure] for run in _runs(results, name))


def _ratio(results: Results, name: str, other: str, figure: Callable[[Run], float]) -> float | None:
    """Median over the rounds that have both of figure(name) / figure(other); None where no round has."""
    others = {run["round"]: figure(run) for run in _runs(results, other)}
    ratios = [figure(run) / others[run["round"]] for run in _runs(results, name) if run["round"] in others]
    return median(ratios) if ratios else None


def _number(value: float) -> str:
    """Three digits that count, as people write them: 1234, 123, 12.3, 1.23, 0.123."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
