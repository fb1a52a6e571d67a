"""`gnomon train` in many processes: torchrun starts the same command in all of them, the first one decides and speaks.

It reads recipe and registry, builds the corpus and says what is to be trained; the others only train, and end as it
ends. What the run leaves is what one process would have left.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.common.errors import Told
from gnomon.train.parallel.world import Processes, joined, shared_by
from gnomon.workflow.training import Wish, train_one

if TYPE_CHECKING:
    from gnomon.workflow.display import Display


def train_together(wish: Wish, home: Path, cores: int, display: Display, mesh: str = "") -> str:
    """Train one model in all the processes that were started; the first one's answer is the line to print, "" else.

    cores: of this machine, divided among its processes. mesh: as Mesh.parse reads it.
    Raises GnomonError when the processes were given different commands, or more than one and no shared folder.
    """
    with joined(mesh) as crew:
        crew.require_same("command", sys.argv[1:], _difference)
        here = max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        if isinstance(crew, Processes) and not crew.leader:
            _follow(crew)
            return ""
        try:
            line = train_one(wish, home, here, display, crew)
        except BaseException:
            if not crew.told:  # afterwards they fail as the leader does
                crew.tell(None)
            raise
        crew.tell(None)
        return line


def _difference(mine: list[str], theirs: list[str]) -> str | None:
    return None if mine == theirs else f"{' '.join(theirs)!r} in place of {' '.join(mine)!r}"


def _follow(crew: Processes) -> None:
    """Train what the leader says."""
    from gnomon.corpus.shards import Corpus
    from gnomon.train.trainer import train

    while True:
        with crew.watched(lambda: "it was not at work on one"):
            job = crew.hear()
        if job is None:
            return
        try:
            train(job.pop("plan"), Corpus.open(job.pop("corpus")), job.pop("run_dir"), **job, **shared_by(crew))
        except KeyboardInterrupt:
            raise Told("stopped", 130) from None
