"""The fork server: small, single-threaded, started before anything heavy; forks a candidate and a judge for each job.

It never reads a job: it is handed descriptors and limits, so a candidate forked from it holds no test and no reference
solution in its memory. It reaps, measures and kills. When its caller goes, it goes, and everything it forked with it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from gnomon.evals.sandbox import child, kernel

JUDGE_GRACE_S = 1.0  # a judge that has lost its candidate still has to say so


@dataclass
class Running:
    """A job under way: process ids, their handles, when it ends whatever happens, how each process ended."""

    report: socket.socket
    candidate: int
    judge: int
    deadline: float
    handles: dict[int, int] = field(default_factory=dict)  # pid -> pidfd
    ended: dict[int, tuple[int, float]] = field(default_factory=dict)  # pid -> (wait status, CPU seconds)
    late: bool = False


class Server:
    def __init__(self, control: int) -> None:
        self.control = socket.socket(fileno=control)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.control, selectors.EVENT_READ)
        self.jobs: list[Running] = []

    def serve(self) -> None:
        while True:
            soonest = min((job.deadline for job in self.jobs), default=math.inf)
            wait = None if soonest == math.inf else max(0.0, soonest - time.monotonic())
            for key, _ in self.selector.select(wait):
                if key.fileobj is self.control:
                    if not self.accept():
                        return
                else:
                    self.event(*key.data)
            for job in [j for j in self.jobs if j.deadline <= time.monotonic()]:
                self.expire(job)

    def accept(self) -> bool:
        """One order: limits as JSON, five descriptors. False when the caller has gone."""
        message, descriptors, _, _ = socket.recv_fds(self.control, 65536, 5)
        if not message:
            return False
        order: dict[str, Any] = json.loads(message)
        report_fd, candidate_job, judge_job, candidate_peer, judge_peer = descriptors
        pids = []
        for role, job, peer in (("candidate", candidate_job, candidate_peer), ("judge", judge_job, judge_peer)):
            pid = os.fork()
            if pid == 0:
                child.run(role, job, peer, order)
            pids.append(pid)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        report = socket.socket(fileno=report_fd)
        running = Running(report, pids[0], pids[1], time.monotonic() + order["wall_s"])
        for pid in pids:
            running.handles[pid] = os.pidfd_open(pid)
            self.selector.register(running.handles[pid], selectors.EVENT_READ, (running, pid))
        self.selector.register(report, selectors.EVENT_READ, (running, 0))  # readable: the caller has given it up
        self.jobs.append(running)
        return True

    def event(self, job: Running, pid: int) -> None:
        if pid == 0:
            self.expire(job)
            return
        _, status, usage = os.wait4(pid, 0)
        job.ended[pid] = (status, usage.ru_utime + usage.ru_stime)
        self.selector.unregister(job.handles[pid])
        os.close(job.handles.pop(pid))
        if pid == job.judge:
            self.kill(job)
        elif job.handles:
            job.deadline = min(job.deadline, time.monotonic() + JUDGE_GRACE_S)
        if not job.handles:
            self.close(job)

    def expire(self, job: Running) -> None:
        job.late, job.deadline = True, math.inf
        self.kill(job)

    @staticmethod
    def kill(job: Running) -> None:
        for handle in job.handles.values():
            signal.pidfd_send_signal(handle, signal.SIGKILL)

    def close(self, job: Running) -> None:
        status, cpu_s = job.ended[job.candidate]
        body = {"status": status, "cpu_s": cpu_s, "judge_status": job.ended[job.judge][0], "late": job.late}
        self.selector.unregister(job.report)
        with contextlib.suppress(OSError):  # the caller has gone
            job.report.send(json.dumps(body).encode())
        job.report.close()
        self.jobs.remove(job)


def probe(layers: dict[str, bool], readable: list[str]) -> dict[str, Any]:
    """Which of the wanted layers this kernel grants, tried in a process that is thrown away."""
    granted: dict[str, Any] = {"limits": True, "landlock_abi": kernel.landlock_abi()}
    steps = {
        "user": lambda: kernel.drop_user(child.CANDIDATE_USER),
        "landlock": lambda: kernel.landlock(readable),
        "seccomp": kernel.seccomp,
    }
    for name, take in steps.items():
        granted[name] = False
        if layers.get(name, True):
            pid = os.fork()
            if pid == 0:
                try:
                    take()
                    os._exit(0)
                except BaseException:
                    os._exit(1)
            granted[name] = os.waitpid(pid, 0)[1] == 0
    return granted


def main() -> None:
    """Argument: a JSON object with the wanted layers, the readable folders and the caller's socket as a descriptor."""
    wanted = json.loads(sys.argv[1])
    kernel.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    network = False
    if wanted["layers"].get("network", True):
        try:
            kernel.empty_network()
            network = True
        except kernel.Refused:
            pass
    child.preload()
    server = Server(wanted["control"])
    granted = {**probe(wanted["layers"], wanted["readable"]), "network": network}
    server.control.send(json.dumps(granted).encode())
    gc.collect()
    gc.freeze()
    server.serve()


if __name__ == "__main__":
    main()
