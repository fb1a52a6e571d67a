"""Processes on this machine: one single-thread worker a core, longest job first, nothing finished is done again.

Where stacking pays (ladder/stacks.py) jobs of one shape and batch go to a worker together.

Workers live in groups of their own, so Ctrl-C reaches the parent alone; it asks them to write a checkpoint and waits.
A worker whose parent dies sees its input end and does the same.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gnomon.common.errors import JobFailed
from gnomon.ladder.jobs import Event, Job, OnEvent
from gnomon.ladder.stacks import grouped

STOP_PATIENCE_S = 60.0  # how long a worker may take to write its last checkpoint


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    errors: list[str] = field(default_factory=list)
    running: dict[str, Job] = field(default_factory=dict)  # by run id: what it has not reported yet


class LocalExecutor:
    """Runs jobs on `processes` workers. home: where runs live. corpus: the folder of an opened corpus."""

    def __init__(self, home: Path, corpus: Path, processes: int) -> None:
        self.home, self.corpus, self.processes = home, corpus, max(1, processes)

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> None:
        """Do every job; return when all are done. The caller sees each event as it comes.

        Raises JobFailed naming the run when a job failed (after the others are finished), KeyboardInterrupt when the
        user stopped it (after the workers have written their checkpoints).
        """
        waiting = grouped(jobs, self.processes)
        if not waiting:
            return
        news: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
        workers = [self._start(piece[0].threads, news) for piece in waiting[: self.processes]]
        failures: list[str] = []
        try:
            for worker in workers:
                self._give(worker, waiting)
            while any(worker.running for worker in workers):
                worker, event = news.get()
                if event is None:
                    self._ended(worker, failures)
                    continue
                on_event(event)
                if event.kind in ("done", "failed"):
                    if event.kind == "failed":
                        failures.append(f"run {event.run_id}: {event.body['message']}")
                    worker.running.pop(event.run_id, None)
                    if not worker.running:
                        self._give(worker, waiting)
        except BaseException:
            self._stop(workers)
            raise
        for worker in workers:
            worker.process.wait()
        if failures:
            raise JobFailed("; ".join(failures))
        if waiting:
            left = sum(len(piece) for piece in waiting)
            raise JobFailed(f"every worker ended early; {left} runs are left, give the same command again")

    def _start(self, threads: int, news: queue.Queue[tuple[_Worker, Event | None]]) -> _Worker:
        process = start_worker(self.home, self.corpus, threads)
        worker = _Worker(process)
        assert process.stdout is not None and process.stderr is not None
        errors = threading.Thread(target=collect, args=(process.stderr, worker.errors), daemon=True)
        errors.start()
        threading.Thread(target=_listen, args=(worker, process.stdout, errors, news), daemon=True).start()
        return worker

    @staticmethod
    def _give(worker: _Worker, waiting: list[tuple[Job, ...]]) -> None:
        """Hand the worker its next piece of work, or tell it that there is none."""
        stdin = worker.process.stdin
        assert stdin is not None
        try:
            if waiting:
                piece = waiting.pop(0)
                worker.running = {job.plan.run_id: job for job in piece}
                stdin.write(json.dumps([job.to_dict() for job in piece] if piece[1:] else piece[0].to_dict()) + "\n")
            else:
                stdin.write("stop\n")
            stdin.flush()
        except BrokenPipeError:
            return  # it has died; the listener's last word says so

    @staticmethod
    def _ended(worker: _Worker, failures: list[str]) -> None:
        if worker.running:
            last = worker.errors[-1] if worker.errors else "no message"
            code = worker.process.wait()
            failures += [f"run {run_id}: its worker ended with code {code} ({last})" for run_id in worker.running]
            worker.running = {}

    @staticmethod
    def _stop(workers: Sequence[_Worker]) -> None:
        """Ask every worker to write its checkpoint and go; insist after a while."""
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGINT)
        for worker in workers:
            try:
                worker.process.wait(STOP_PATIENCE_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                worker.process.kill()
                worker.process.wait()


def start_worker(home: Path, corpus: Path, threads: int) -> subprocess.Popen[str]:
    """A worker process in a group of its own, which reads jobs as JSON lines and writes events as JSON lines."""
    return subprocess.Popen(
        [sys.executable, "-m", "gnomon.ladder.worker", str(home), str(corpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
        start_new_session=True,
    )


def collect(stream: IO[str], lines: list[str]) -> None:
    """The last lines of a worker's error output."""
    for line in stream:
        if line.strip():
            lines.append(line.strip())
            del lines[:-20]


def event_of(line: str) -> Event | None:
    """A line of a worker's output; None when a library printed something of its own."""
    try:
        value = json.loads(line)
        return Event(value["kind"], value["run_id"], value["body"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return None


def _listen(
    worker: _Worker, stream: IO[str], errors: threading.Thread, news: queue.Queue[tuple[_Worker, Event | None]]
) -> None:
    for line in stream:
        if (event := event_of(line)) is not None:
            news.put((worker, event))
    errors.join(1.0)
    news.put((worker, None))
