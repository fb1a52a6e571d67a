"""The processes that share a run, as the loop sees them. One alone is the ordinary case; many: parallel/world.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gnomon.common.files import Lock
from gnomon.recipe.plan import Plan

T = TypeVar("T")


class Crew:
    """This process is alone. leader: it writes the run's files, prints and examines. mesh: of many, in words.

    told: the leader has told the others of a job.
    """

    rank, size, leader, mesh, told = 0, 1, True, "", False

    def agreed(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag

    def meet(self) -> None:
        """Wait until all are here."""

    def first(self, work: Callable[[], T]) -> T:
        """What work gives in the leader, in every process; what it raises, too."""
        return work()

    def require_same(self, what: str, value: Any, describe: Callable[[Any, Any], str | None]) -> None:
        """Raises GnomonError when the processes do not all hold the same value. describe: how two of them differ."""

    def report(self, found: str) -> str:
        """What the processes found when each looked at its own part: of the first that names a module."""
        return found

    def require_plan(self, plan: Plan) -> None:
        """Raises GnomonError when the processes do not all hold this plan, or cannot share it as they are arranged."""

    def tell(self, job: dict[str, Any] | None) -> None:
        """Say what is to be trained to processes that wait to be told; None: nothing more."""

    @contextmanager
    def hold(self, path: Path, what: str) -> Iterator[None]:
        """One run at a time on a folder. Raises GnomonError when another one is at work on it."""
        with Lock(path, what):
            yield

    @contextmanager
    def watched(self, whole: Callable[[], str]) -> Iterator[None]:
        """Raises JobFailed, saying what is whole, when another process of the run is lost while the block runs."""
        yield


ALONE = Crew()
