"""The local executor's jobs on a Ray cluster (`gnomon[ray]`): same plans, same worker program, same run folders.

On each slot of the cluster an actor starts the worker program of ladder/worker.py and passes on what it says, so a run
cannot tell which executor it has. The home and the corpus lie in a folder that all nodes share (checked at the start):
checkpoints are written there, and a run whose worker or node died goes on elsewhere from its last one.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gnomon
from gnomon.common.errors import GnomonError, JobFailed
from gnomon.common.files import write_text
from gnomon.common.hashing import folder_hash
from gnomon.ladder.executors.local import STOP_PATIENCE_S, collect, event_of, start_worker
from gnomon.ladder.jobs import Event, Job, OnEvent, run_folder
from gnomon.ladder.stacks import grouped
from gnomon.ladder.store import is_locked

RETRIES = 3  # new starts of one run whose worker died
START_PATIENCE_S = 300.0  # until a node has room for a worker
LISTEN_S = 2.0  # how long an actor waits for news before it answers that there is none
ENDED = "ended"  # kind of the event that says that a worker's process is gone


def code_hash() -> str:
    """Of the package's source, here or on a node."""
    return folder_hash(Path(gnomon.__file__).parent)


class Host:
    """One worker process on a node. Ray makes an actor of it; it knows nothing of Ray."""

    def __init__(self, home: str, corpus: str, threads: int) -> None:
        self.home, self.corpus, self.threads = Path(home), Path(corpus), threads
        self._news: queue.Queue[Event] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def check(self, probe: str, word: str, code: str) -> str:
        """Why this node cannot work for that driver, in words; "" when it can."""
        try:
            found = (self.home / probe).read_text()
        except OSError as error:
            found = error.strerror or str(error)
        if found != word:
            return (
                f"does not see the home {self.home} ({found}); all nodes must share it (NFS or the like): "
                "give such a folder with --home"
            )
        if code_hash() != code:
            return f"has another gnomon (in {Path(gnomon.__file__).parent}); install the same version on every node"
        return ""

    def begin(self, jobs: list[dict[str, Any]]) -> list[Event]:
        """Hand jobs to the worker, to be trained together where they are several; it is started where none is alive.
        Waits for a dying worker to let go of their runs.

        No news yet: an empty list, so that a caller may wait for it as for the news that follow.
        """
        folders = [run_folder(self.home, Job.from_dict(job).plan.run_id) for job in jobs]
        patience = time.monotonic() + STOP_PATIENCE_S
        while any(map(is_locked, folders)) and time.monotonic() < patience:
            time.sleep(0.1)
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died; the listener says so
            self._process.stdin.write(json.dumps(jobs if jobs[1:] else jobs[0]) + "\n")
            self._process.stdin.flush()
        return []

    def news(self) -> list[Event]:
        """What the worker said since the last call; waits a little for a first word."""
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._news.get(timeout=LISTEN_S))
            while True:
                found.append(self._news.get_nowait())
        return found

    def stop(self) -> None:
        """Have the worker write its checkpoint and go; insist after a while."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        # Ray blocks SIGINT in all it starts, and children inherit the mask of the thread: the worker must hear it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if self._listener is not None:
            self._listener.join()
            self._news = queue.Queue()  # the end of a worker that had no job is no news
        self._process = start_worker(self.home, self.corpus, self.threads)
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        last: list[str] = []
        assert process.stdout is not None and process.stderr is not None
        errors = threading.Thread(target=collect, args=(process.stderr, last), daemon=True)
        errors.start()
        for line in process.stdout:
            if (event := event_of(line)) is not None:
                self._news.put(event)
        errors.join(1.0)
        message = f"its worker ended with code {process.wait()} ({last[-1] if last else 'no message'})"
        self._news.put(Event(ENDED, "", {"message": message}))


@dataclass
class _Slot:
    """A place on the cluster. call: what was asked of the actor last; None when it has nothing to do. running: jobs
    that it has not reported yet, by run id. checked: its node can do the work. deaths: actors that it lost before."""

    actor: Any
    call: Any
    running: dict[str, Job] = field(default_factory=dict)
    checked: bool = False
    deaths: int = 0


class RayExecutor:
    """Runs jobs on a Ray cluster. home: a folder that all nodes share. corpus: the folder of an opened corpus.

    processes: cores of the cluster that is started on this machine where there is none. address: what ray.init takes
    ("auto", "HOST:6379"); "" is RAY_ADDRESS where it is set, else a cluster on this machine.
    retries: new starts of one run whose worker or node died.
    """

    def __init__(self, home: Path, corpus: Path, processes: int, address: str = "", retries: int = RETRIES) -> None:
        self.home, self.corpus = home.absolute(), corpus.absolute()
        self.processes, self.address, self.retries = max(1, processes), address, retries

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> None:
        """Do every job; return when all are done. The caller sees each event as it comes, and `retried` besides.

        Raises GnomonError when the cluster has no room or a node does not share the home, JobFailed naming the run
        when a job failed (after the others are finished), KeyboardInterrupt when the user stopped it (after the
        workers have written their checkpoints).
        """
        if not jobs:
            return
        ray = connect(self.address, self.processes)
        threads = max(job.threads for job in jobs)
        count = room(ray.nodes(), threads)
        pieces = grouped(jobs, count)
        _Sitting(ray, self, threads, pieces, on_event).run(min(count, len(pieces)))


def connect(address: str, processes: int) -> Any:
    """The ray module, connected. Raises GnomonError when it is not installed or the cluster cannot be reached."""
    # Ray reads both when it is imported. Nothing of a run is told to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise GnomonError("ray is not installed, so there is no ray executor; pip install 'gnomon[ray]'") from None
    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    where = address or os.environ.get("RAY_ADDRESS", "")
    options |= {"address": where} if where else {"num_cpus": processes, "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise GnomonError(
            f"ray: no cluster at {where or 'this machine'} ({first}); start one with `ray start --head`, or leave "
            "the address out for one on this machine alone"
        ) from None
    return ray


def room(nodes: Sequence[dict[str, Any]], threads: int) -> int:
    """How many workers of so many threads the living nodes hold side by side. Raises GnomonError when none fits."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    found = sum(count // threads for count in cores)
    if not found:
        largest = max(cores, default=0)
        raise GnomonError(
            f"ray: a run wants {threads} cores and the largest node has {largest}; give --cores {largest}"
        )
    return found


class _Sitting:
    """One call of run: which slot does what, who waits, who failed."""

    def __init__(
        self, ray: Any, executor: RayExecutor, threads: int, waiting: list[tuple[Job, ...]], on_event: OnEvent
    ) -> None:
        self.ray, self.executor, self.threads, self.waiting = ray, executor, threads, waiting
        self.on_event, self.code = on_event, code_hash()
        self.probe = ("", "")
        self.slots: list[_Slot] = []
        self.starts: dict[str, int] = {}
        self.failures: list[str] = []

    def run(self, count: int) -> None:
        with self._probe():
            try:
                self.slots = [_Slot(*self._actor()) for _ in range(count)]
                while self.waiting or any(slot.running for slot in self.slots):
                    self._hear(self._next())
            finally:
                self._stop()
        if self.failures:
            raise JobFailed("; ".join(self.failures))

    @contextlib.contextmanager
    def _probe(self) -> Iterator[None]:
        """A file in the home for the nodes to find: self.probe is (name, content)."""
        self.probe = (f".ray-{secrets.token_hex(6)}", secrets.token_hex(16))
        path = self.executor.home / self.probe[0]
        write_text(path, self.probe[1])
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def _actor(self) -> tuple[Any, Any]:
        """A new actor and the call that checks its node. Starts again are counted here, so Ray makes none itself."""
        options = {"num_cpus": self.threads, "max_concurrency": 3, "max_restarts": 0}
        home, corpus = str(self.executor.home), str(self.executor.corpus)
        actor = self.ray.remote(Host).options(**options).remote(home, corpus, self.threads)
        return actor, actor.check.remote(*self.probe, self.code)

    def _next(self) -> _Slot:
        """The next slot that answers. Raises GnomonError when no worker finds room on the cluster."""
        calls = {slot.call: slot for slot in self.slots if slot.call is not None}
        patience = None if any(slot.running for slot in self.slots) else START_PATIENCE_S
        ready, _ = self.ray.wait(list(calls), num_returns=1, timeout=patience)
        if not ready:
            raise GnomonError(
                f"ray: no room for a worker of {self.threads} cores in {START_PATIENCE_S:.0f} seconds; "
                "others use the cluster, try again later"
            )
        return calls[ready[0]]

    def _hear(self, slot: _Slot) -> None:
        """Take a slot's answer: the check of its node, or news of its job."""
        try:
            answer = self.ray.get(slot.call)
        except self.ray.exceptions.RayError as error:
            self._replace(slot, _first_line(error))
            return
        if not slot.checked:
            if answer:
                raise GnomonError(f"ray: a node {answer}")
            slot.checked = True
            self._give(slot)
            return
        call = slot.call
        for event in answer:
            if event.kind == ENDED:
                self._lost(slot, event.body["message"])
                self._give(slot)
                continue
            self.on_event(event)
            if event.kind == "failed":
                self.failures.append(f"run {event.run_id}: {event.body['message']}")
            if event.kind in ("done", "failed"):
                slot.running.pop(event.run_id, None)
                if not slot.running:
                    self._give(slot)
        if slot.call is call:  # its jobs go on
            slot.call = slot.actor.news.remote()

    def _give(self, slot: _Slot) -> None:
        """Hand the slot its next piece of work, if there is one."""
        piece = self.waiting.pop(0) if self.waiting else ()
        slot.running = {job.plan.run_id: job for job in piece}
        slot.call = None
        if piece:
            for run_id in slot.running:
                self.starts[run_id] = self.starts.get(run_id, 0) + 1
            slot.call = slot.actor.begin.remote([job.to_dict() for job in piece])

    def _replace(self, slot: _Slot, reason: str) -> None:
        """The slot's actor, or its node, is gone: another one takes its place, wherever there is room."""
        slot.deaths += not slot.checked
        if slot.deaths > self.executor.retries:
            raise GnomonError(f"ray: a worker cannot start on its node: {reason}")
        self.ray.kill(slot.actor)  # where it is alive and only a call failed, it gives its cores back
        self._lost(slot, f"its actor or node died ({reason})")
        slot.actor, slot.call = self._actor()
        slot.checked = False
        for idle in self.slots:
            if idle.checked and not idle.running:
                self._give(idle)

    def _lost(self, slot: _Slot, reason: str) -> None:
        """A worker died with its jobs: they go on from their last checkpoints, or are given up with the reason."""
        lost, slot.running = slot.running, {}
        again = []
        for run_id, job in lost.items():
            starts = self.starts[run_id]
            if starts > self.executor.retries:
                self.failures.append(f"run {run_id}: given up after {starts} starts: {reason}")
                continue
            self.on_event(Event("retried", run_id, {"message": reason, "start": starts + 1}))
            again.append(job)
        if again:
            self.waiting.insert(0, tuple(again))

    def _stop(self) -> None:
        """Have every worker write its checkpoint, and give the slots back."""
        calls = [slot.actor.stop.remote() for slot in self.slots if slot.checked]
        with contextlib.suppress(self.ray.exceptions.RayError, KeyboardInterrupt):
            self.ray.wait(calls, num_returns=len(calls), timeout=STOP_PATIENCE_S + 5) if calls else None
        for slot in self.slots:
            self.ray.kill(slot.actor)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__
