"""The card as text: one table a protocol, a line a method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def lines(card: dict[str, Any]) -> Iterator[str]:
    """The whole card."""
    yield from _heading(card)
    for protocol, title in _TITLES.items():
        ratios = _ratios(card, protocol)
        for ratio in ratios:
            yield ""
            yield f"{title}, {int(ratio):,} times"
            yield from _TABLES[protocol](card, ratio)
    yield from _curves(card)
    yield from _tasks(card)
    if card["cost"]:
        c = card["cost"]
        drawn = next(v for k, v in c.items() if k.startswith("bootstrap_"))
        yield ""
        yield (
            f"Cost on {c['family']} ({c['runs']} runs): fit {c['fit_s']:.3f} s, with 4,000 bootstraps {drawn:.2f} s, "
            f"objective {c['objective']:.10f}"
        )
    yield ""
    yield "processor seconds: " + ", ".join(f"{name} {s:.0f}" for name, s in card["seconds"].items())


def _heading(card: dict[str, Any]) -> Iterator[str]:
    data = card["data"]
    scored = [f for f in data["families"] if f["protocols"]]
    sources = {f["source"] for f in scored}
    yield (
        f"{len(scored)} of {len(data['families'])} families are scored, of {len(sources)} sources; "
        f"method version {card['method_version'] or 'not frozen'}"
    )
    for file, why in data["skipped"].items():
        yield f"  {file}: left out, {why}"


def _ratios(card: dict[str, Any], protocol: str) -> list[str]:
    found = {ratio for method in card["methods"].values() for ratio in method.get(protocol, {})}
    return sorted(found, key=int)


def _rows(card: dict[str, Any], protocol: str, ratio: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, method in card["methods"].items():
        figures = method.get(protocol, {}).get(ratio)
        if figures is not None and figures.get("targets", 1):
            yield name, figures


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    rows = [list(header), *map(list, body)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        first = row[0].ljust(widths[0])
        yield "  " + "  ".join([first, *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _error_table(card: dict[str, Any], ratio: str) -> Iterator[str]:
    header = (
        "method",
        "family median %",
        "source p90 %",
        "pooled median",
        "pooled p90",
        "CRPS %",
        "flagged",
        "unflagged median",
        "targets",
        "families",
        "sources",
    )
    body = []
    for name, f in _rows(card, "rolling_origin", ratio):
        rest = f["unflagged"] or f
        body.append((name, _number(f["family_median_ape"]), _number(f["source_p90_ape"]),
                     _number(f["pooled_median_ape"]), _number(f["pooled_p90_ape"]), _number(f["crps"]),
                     f"{f['flagged_share']:.0%}", _number(rest["family_median_ape"]),
                     str(f["targets"]), str(f["families"]), str(f["sources"])))  # fmt: skip
    yield from _table(header, body)


def _isoflop_table(card: dict[str, Any], ratio: str) -> Iterator[str]:
    header = ("method", "median %", "p90 %", "targets", "families", "clean median %", "clean p90 %", "clean targets",
              "flagged", "unflagged median")  # fmt: skip
    body = []
    for name, f in _rows(card, "isoflop", ratio):
        clean = f["clean"] or {"median_ape": None, "p90_ape": None, "targets": 0}
        rest = f["unflagged"] or f
        body.append((name, _number(f["median_ape"]), _number(f["p90_ape"]), str(f["targets"]), str(f["families"]),
                     _number(clean["median_ape"]), _number(clean["p90_ape"]), str(clean["targets"]),
                     f"{f['flagged_share']:.0%}", _number(rest["pooled_median_ape"])))  # fmt: skip
    yield from _table(header, body)


def _coverage_table(card: dict[str, Any], ratio: str) -> Iterator[str]:
    header = ("method", "inside 80 %", "inside 90 %", "half width 80, %", "Winkler 80, %", "CRPS %", "test of 80",
              "test of 90", "targets", "families", "sources")  # fmt: skip
    body = []
    for name, f in _rows(card, "coverage", ratio):
        body.append((name, _number(f["80"]), _number(f["90"]), _number(f["half_width_80"]), _number(f["winkler_80"]),
                     _number(f["crps"]), _test(f["test_80"]), _test(f["test_90"]), str(f["targets"]),
                     str(f["families"]), str(f["sources"])))  # fmt: skip
    yield from _table(header, body)


def _test(test: dict[str, Any]) -> str:
    if test["p"] is None:
        return "too few"
    return f"p {test['p']:.2f}" + (" rejected" if test["rejected"] else "")


def _curves(card: dict[str, Any]) -> Iterator[str]:
    rows = [(name, m["rnsl"]) for name, m in card["methods"].items() if "rnsl" in m]
    if rows:
        yield ""
        yield "Learning curves, RMSE of log loss"
        body = [
            (name, _number(f["mean_rmse"], 4), _number(f["median_rmse"], 4), str(f["curves"]),
             "–" if f["beats_bnsl"] is None else f"{f['beats_bnsl']:.0%}")
            for name, f in rows
        ]  # fmt: skip
        yield from _table(("method", "mean", "median", "curves", "better than BNSL"), body)


def _tasks(card: dict[str, Any]) -> Iterator[str]:
    found = {(t, r) for m in card["methods"].values() for t, v in m.get("downstream", {}).items() for r in v}
    for table, label in sorted(found):
        yield ""
        yield f"Task scores of {table}, {label + ' times' if label.isdigit() else label}; error in points"
        body = []
        for name, method in card["methods"].items():
            f = method.get("downstream", {}).get(table, {}).get(label)
            if f is not None:
                body.append((name, _number(f["median_points"], 1), _number(f["mean_points"], 1),
                             _number(f["average_error_pct"], 1), str(f["tasks"]), str(f["targets"])))  # fmt: skip
        yield from _table(("method", "median", "mean", "error of the average, %", "tasks", "targets"), body)


_TITLES = {
    "rolling_origin": "Any run, rolling origin",
    "isoflop": "isoFLOP optimum",
    "coverage": "Intervals",
}
_TABLES = {"rolling_origin": _error_table, "isoflop": _isoflop_table, "coverage": _coverage_table}
