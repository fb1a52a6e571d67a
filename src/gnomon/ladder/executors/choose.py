"""Which executor a command means: `local`, `ray`, or `ray:ADDRESS`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gnomon.common.errors import GnomonError
from gnomon.ladder.jobs import Job, OnEvent


class Executor(Protocol):
    """Does jobs, and tells what happens. See LocalExecutor.run for what it raises."""

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> None: ...


def check(name: str) -> None:
    """Raises GnomonError when no executor is called so, or the one that is needs a package that is not here."""
    kind, colon, address = name.partition(":")
    if name != "local" and (kind != "ray" or (colon and not address) or address.startswith("//")):
        raise GnomonError(f"--executor {name}: give local, ray, ray:auto or ray:HOST:6379")
    if kind == "ray" and importlib.util.find_spec("ray") is None:
        raise GnomonError("ray is not installed, so there is no ray executor; pip install 'gnomon[ray]'")


def executor_for(name: str, home: Path, corpus: Path, processes: int) -> Executor:
    """The executor of that name. home: where runs live. corpus: an opened corpus' folder. processes: on this machine.

    `ray` is the cluster of RAY_ADDRESS, or one that is started here; `ray:auto` and `ray:HOST:6379` are the cluster
    that this machine belongs to. Raises GnomonError on others.
    """
    check(name)
    if name == "local":
        from gnomon.ladder.executors.local import LocalExecutor

        return LocalExecutor(home, corpus, processes)
    from gnomon.ladder.executors.ray import RayExecutor

    address = name.removeprefix("ray").removeprefix(":")
    return RayExecutor(home, corpus, processes, address)
