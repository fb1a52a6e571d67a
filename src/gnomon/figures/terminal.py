"""The live picture of a terminal: what was found, the ladder as it trains, the seal, the envelope. Torch-free.

Every view is a frozen value with two faces: rich draws it on a terminal, `line()` says it in one plain line for a log.
`shown()` chooses. Names from outside are never read as markup.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gnomon.figures.braille import ScatterPoint, interval_bar, scatter
from gnomon.figures.envelope import EnvelopeRow
from gnomon.figures.loss import Interval
from gnomon.figures.numbers import PER_CENT, byte_size, count, duration, power

ACCENT = "orange3"
STRONG = "bold"
SOFT = "dim"


class View(Protocol):
    """What shown() can show. line: one plain line. key: changes when a log deserves a new line."""

    def __rich__(self) -> RenderableType: ...
    def line(self) -> str: ...
    def key(self) -> object: ...


@contextlib.contextmanager
def shown(console: Console) -> Iterator[Callable[[View], None]]:
    """Gives show(view): redraws in place on a terminal; elsewhere prints view.line() whenever view.key() changes.

    On a terminal the last view stays on the screen when the block ends, however it ends.
    """
    if draws(console):
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            yield lambda view: live.update(_inset(view))
        return
    last: list[object] = []

    def say(view: View) -> None:
        if last != [view.key()]:
            last[:] = [view.key()]
            console.out(plain_text(view.line(), console.encoding), highlight=False)

    yield say


def show(console: Console, view: View) -> None:
    """A view once: drawn on a terminal, one line elsewhere."""
    if draws(console):
        console.print(_inset(view))
    else:
        console.out(plain_text(view.line(), console.encoding), highlight=False)


def draws(console: Console) -> bool:
    """Whether this console is a terminal that can print the characters of a drawing."""
    return console.is_terminal and console.encoding.lower().startswith("utf")


def plain_text(text: str, encoding: str) -> str:
    """text with plain spaces, and without what encoding cannot say."""
    return text.replace("\u00a0", " ").encode(encoding, "replace").decode(encoding)


def _inset(view: View) -> RenderableType:
    return Padding(view.__rich__(), (1, 2))


@dataclass(frozen=True)
class Found:
    """What is in the user's text. parts: (kind, bytes), largest first. held_out: what is never trained on, and why."""

    documents: int
    bytes: int
    parts: tuple[tuple[str, int], ...] = ()
    held_out: str = ""
    skipped: int = 0
    where: str = ""


@dataclass(frozen=True)
class Needs:
    """What the whole way takes on this machine."""

    minutes: float
    memory_bytes: float
    disk_bytes: float


def plan_lines(models: int, times_larger: float) -> tuple[str, ...]:
    """The plan in five lines."""
    return (
        f"train {models} tiny models",
        f"predict one {times_larger:.0f}× bigger",
        "seal the prediction",
        "train it",
        "open the envelope and check",
    )


@dataclass(frozen=True)
class FirstScreen:
    """Found, plan, needs; see first_screen."""

    found: Found
    plan: tuple[str, ...]
    needs: Needs

    def line(self) -> str:
        f, n = self.found, self.needs
        skipped = f", {f.skipped} unreadable" if f.skipped else ""
        return (
            f"gnomon: {f.documents} documents, {byte_size(f.bytes)}{skipped}; plan: {', '.join(self.plan)}; "
            f"needs about {n.minutes:.0f} minutes, {byte_size(n.memory_bytes)} memory, {byte_size(n.disk_bytes)} disk"
        )

    def key(self) -> object:
        return self

    def __rich__(self) -> RenderableType:
        f, n = self.found, self.needs
        documents = f"{f.documents:,}".replace(",", " ")
        found = Text(f"{documents} documents, {byte_size(f.bytes)}", STRONG)
        found.append(f"  {f.where}" if f.where else "", SOFT)
        facts = [found]
        if f.parts:
            facts.append(Text("  ".join(f"{name} {byte_size(size)}" for name, size in f.parts[:5]), SOFT))
        if f.skipped:
            facts.append(Text(f"{f.skipped} files could not be read and are skipped", SOFT))
        if f.held_out:
            facts.append(Text(f"held out: {f.held_out}", SOFT))
        steps = [Text.assemble((f"{i}  ", ACCENT), line) for i, line in enumerate(self.plan, 1)]
        need = f"{n.minutes:.0f} minutes, {byte_size(n.memory_bytes)} of memory, {byte_size(n.disk_bytes)} of disk"
        grid = Table.grid(padding=(0, 3))
        grid.add_column(style=SOFT, no_wrap=True)
        grid.add_column()
        for name, body in (("found", Group(*facts)), ("plan", Group(*steps)), ("needs", Text(f"about {need}"))):
            grid.add_row(name, body)
            grid.add_row("", "")
        safe = Text("Ctrl-C is safe: nothing finished is lost, and the same command goes on.", SOFT)
        return Group(_heading("gnomon", "know the big model before you train it"), "", grid, safe)


def first_screen(found: Found, plan: Sequence[str], needs: Needs) -> FirstScreen:
    """What a newcomer sees first: what was found in the text, the plan, what it needs, and that Ctrl-C is safe."""
    return FirstScreen(found, tuple(plan), needs)


@dataclass(frozen=True)
class RungState:
    """A rung at work. share: of its tokens done, 0..1; loss: bits per byte so far."""

    name: str
    share: float
    loss: float | None = None
    tokens_per_s: float = 0.0


@dataclass(frozen=True)
class LadderView:
    """The ladder as it trains. finished: the rungs done; eta_s: time left; what: the heading."""

    done: int
    total: int
    running: tuple[RungState, ...] = ()
    finished: tuple[ScatterPoint, ...] = ()
    eta_s: float | None = None
    what: str = "training the ladder"

    def line(self) -> str:
        best = f", best {min(p.loss for p in self.finished):.3f} bits per byte" if self.finished else ""
        left = f", about {duration(self.eta_s)} left" if self.eta_s is not None else ""
        return f"{self.what}: {self.done} of {self.total} done{best}{left}"

    def key(self) -> object:
        return self.what, self.done, self.total

    def __rich__(self) -> RenderableType:
        left = f"about {duration(self.eta_s)} left" if self.eta_s is not None else ""
        share = (self.done + sum(r.share for r in self.running)) / max(self.total, 1)
        head = Text.assemble(_bar(share, 30), f"  {self.done} of {self.total}  ", (left, SOFT))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for rung in self.running:
            loss = f"{rung.loss:.3f} bits per byte" if rung.loss is not None else ""
            speed = f"{count(rung.tokens_per_s)} tokens/s" if rung.tokens_per_s else ""
            table.add_row(Text(rung.name), _bar(rung.share, 14), Text(loss), Text(speed, SOFT))
        picture = scatter(self.finished)
        parts: list[RenderableType] = [_heading(self.what), "", head, table]
        if picture:
            computes = [p.compute for p in self.finished]
            ruler = f"       {power(min(computes))} to {power(max(computes))} FLOPs; bits per byte, lower is better"
            parts += ["", *(Text(row) for row in picture), Text(ruler, SOFT)]
        return Group(*parts)


@dataclass(frozen=True)
class SealView:
    """The sealed prediction. entry_hash: of the registry's entry; anchor: its outside witness, '' for none."""

    name: str
    forecast: Interval
    entry_hash: str
    unit: str = "bits per byte"
    times_larger: float | None = None
    points: tuple[ScatterPoint, ...] = ()
    target_compute: float | None = None
    anchor: str = ""

    def line(self) -> str:
        f = self.forecast
        return (
            f"sealed {self.entry_hash[:12]}: {self.name}: {f.median:.3f} {self.unit}, "
            f"90{PER_CENT} between {f.low90:.3f} and {f.high90:.3f} ({self.anchor or 'self-attested'})"
        )

    def key(self) -> object:
        return self

    def __rich__(self) -> RenderableType:
        f = self.forecast
        parts: list[RenderableType] = [_heading("sealed", self.name), ""]
        if self.points and self.target_compute:
            target = ScatterPoint(self.target_compute, f.median, "◇")
            rows = scatter((*self.points, target), columns=56)
            parts += [*(_accented(row, "◇") for row in rows), ""]
        bigger = f", for a model of {self.times_larger:.0f}× the compute" if self.times_larger else ""
        parts.append(Text.assemble((f"{f.median:.3f} {self.unit}", STRONG), bigger))
        bar, ends = interval_bar((f.low90, f.high90), (f.low50, f.high50), f.median, None)
        parts += ["", Text(bar), Text(ends, SOFT)]
        parts += ["", Text(f"entry {self.entry_hash[:16]}  {self.anchor or 'self-attested: no outside witness'}", SOFT)]
        return Group(*parts)


@dataclass(frozen=True)
class EnvelopeView:
    """Outcomes against forecasts. rows without an outcome are left out of the verdict."""

    rows: tuple[EnvelopeRow, ...]
    unit: str = "bits per byte"

    def line(self) -> str:
        return "; ".join(self._words(row) for row in self.rows)

    def key(self) -> object:
        return self

    def _words(self, row: EnvelopeRow) -> str:
        f = row.forecast
        if row.outcome is None:
            return f"{row.name}: forecast {f.median:.3f}, no outcome yet"
        verdict = "a hit" if f.holds(row.outcome) else "a miss"
        place = "inside" if f.holds(row.outcome) else "outside"
        return (
            f"{row.name}: forecast {f.median:.3f}, outcome {row.outcome:.3f} {self.unit} "
            f"({row.error(row.outcome)} off): {verdict}, {place} the 90{PER_CENT} interval"
        )

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [_heading("the envelope")]
        for row in self.rows:
            f = row.forecast
            bar, ends = interval_bar((f.low90, f.high90), (f.low50, f.high50), f.median, row.outcome)
            parts += ["", Text(row.name, STRONG), _accented(bar, "◆"), Text(ends, SOFT)]
            if row.outcome is None:
                parts.append(Text("no outcome yet", SOFT))
                continue
            hit = f.holds(row.outcome)
            verdict = ("A hit: " if hit else "A miss: ", f"{STRONG} {ACCENT}")
            off, place = row.error(row.outcome), "inside" if hit else "outside"
            words = f"{row.outcome:.3f}, forecast {f.median:.3f} {self.unit}: {off} off, {place} the 90{PER_CENT} bar."
            parts.append(Text.assemble(verdict, words))
            if row.last_point is not None:
                error = abs(row.last_point / row.outcome - 1) * 100
                guess = f"Guessing the largest small model's own number would be {error:.1f}{PER_CENT} off."
                parts.append(Text(guess, SOFT))
        return Group(*parts)


def _heading(title: str, rest: str = "") -> Text:
    return Text.assemble(("▏", ACCENT), (title, STRONG), (f"  {rest}" if rest else "", SOFT))


def _bar(share: float, columns: int) -> Text:
    """A progress bar; a share that is no number shows as none."""
    filled = round(columns * min(max(share if math.isfinite(share) else 0.0, 0.0), 1.0))
    return Text.assemble(("━" * filled, ACCENT), ("─" * (columns - filled), SOFT))


def _accented(row: str, mark: str) -> Text:
    text = Text(row)
    text.highlight_words([mark], f"{STRONG} {ACCENT}")
    return text
