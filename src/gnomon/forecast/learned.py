"""What was learned from published ladders: the prior of the surface, each law's record, the width of an interval.

learned.json holds the numbers with the list of sources seen, once for all sources and once without each of them, so
that a source can be scored by numbers that never saw it. benchmarks/learn_forecast.py makes the file from a folder of
run tables; METHOD_VERSION names the rule and hashes the code, the numbers and the scoring rule that made a forecast.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.common.errors import GnomonError
from gnomon.forecast.kriging import Setting

NAME = "gnomon-1"
FILE = Path(__file__).with_name("learned.json")
# Ratios at which the record of a law is kept.
RATIOS = (10.0, 100.0)
# The fit's own expected deviation is pulled towards the usual one by no more than this factor: a table much worse than
# any published one is not made to look usual.
MOST_SHRUNK = 2.5


@dataclass(frozen=True)
class Width:
    """How far off a forecast may be: scale(decades, expected) times a factor for each share of outcomes.

    level, growth: usual deviation of log loss after one decade, and the power of decades by which it grows. share: the
    expected deviation's own part, as the power it is raised to. factors: share of outcomes within -> factor.
    """

    level: float
    growth: float
    share: float
    factors: dict[float, float]

    def scale(self, decades: float, expected: float) -> float:
        """expected: deviation of log loss that the fit itself expects."""
        usual = self.level * max(decades, 0.3) ** self.growth
        return float(max(usual ** (1 - self.share) * max(expected, 1e-4) ** self.share, expected / MOST_SHRUNK))


@dataclass(frozen=True)
class Learned:
    """sources: what the numbers were learned from. errors: "any" (runs of every size) or "optimum" (minima of isoFLOP
    budgets) -> law -> root mean square of log(forecast/outcome) at RATIOS. coverage: ratio -> what intervals made
    leaving the tested source out did: shares inside 80 and 90 %, targets, families, sources."""

    sources: tuple[str, ...]
    setting: Setting
    errors: dict[str, dict[str, tuple[float, float]]]
    width: Width
    coverage: dict[str, dict[str, float]]

    def expected_error(self, law: str, decades: float, kind: str = "any") -> float:
        """Of log loss, this far out; between the ratios on a line of logs, beyond them for half a decade more. A law
        that was never tested is taken to be as the worst of them."""
        table = self.errors.get(kind) or self.errors["any"]
        near, far = table.get(law) or tuple(np.max(list(table.values()), axis=0))
        steps = np.clip(decades, 0.5, 2.5) - np.log10(RATIOS[0])
        return float(near * (far / near) ** (steps / np.log10(RATIOS[1] / RATIOS[0])))


@lru_cache(maxsize=1)
def _file() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return value


def sources_seen() -> tuple[str, ...]:
    """The sources that the shipped numbers were learned from."""
    return tuple(_file()["sources"])


def learned(left_out: Iterable[str] | str = ()) -> Learned:
    """The numbers, or those that were learned without the source (or sources) in left_out; what was never seen changes
    nothing.

    Raises GnomonError when more than one seen source is to be left out: only single ones are shipped.
    """
    names = {left_out} if isinstance(left_out, str) else set(left_out)
    seen = sorted(names & set(sources_seen()))
    if len(seen) > 1:
        raise GnomonError(f"left_out: {', '.join(seen)}; the learned part can leave out one source at a time")
    return _learned(seen[0] if seen else "")


@lru_cache(maxsize=32)
def _learned(without: str) -> Learned:
    value = _file()["without"][without]
    return Learned(
        sources=tuple(s for s in sources_seen() if s != without),
        setting=Setting.from_dict(value["setting"]),
        errors={kind: {law: (e[0], e[1]) for law, e in laws.items()} for kind, laws in value["errors"].items()},
        width=Width(
            value["level"],
            value["growth"],
            value["share"],
            {float(share): factor for share, factor in value["factors"].items()},
        ),
        coverage=_file()["coverage"],
    )


@lru_cache(maxsize=1)
def method_version() -> str:
    """The method's name and a hash of everything in this room that decides a forecast's numbers or their score."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".json")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return f"{NAME}+{digest.hexdigest()[:12]}"


def __getattr__(name: str) -> Any:
    """SOURCES and METHOD_VERSION, read when first asked for."""
    if name == "SOURCES":
        return sources_seen()
    if name == "METHOD_VERSION":
        return method_version()
    raise AttributeError(name)
