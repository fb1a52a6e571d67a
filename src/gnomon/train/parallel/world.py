"""The processes of a run: how they find each other and agree. Torch loads only where there are several.

torchrun says through the environment who a process is (RANK, WORLD_SIZE, MASTER_ADDR, ...). What is said here goes over
a gloo group of its own, on the processor, with a long patience: it carries words, not gradients.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError, JobFailed, Told
from gnomon.common.files import Lock
from gnomon.recipe.plan import Plan
from gnomon.train.crew import ALONE, Crew, T
from gnomon.train.parallel.mesh import Mesh

PATIENCE = timedelta(days=2)  # for the first process while it builds a corpus or evaluates
LOST = ("connection", "peer", "socket", "timed out", "timeout", "broken pipe", "nccl", "recvvalue failed")


class Processes(Crew):
    """This process among several that have found each other."""

    def __init__(self, rank: int, size: int, mesh: Mesh, group: Any) -> None:
        self.rank, self.size, self.leader, self.mesh, self.group = rank, size, rank == 0, str(mesh), group

    def _broadcast(self, value: Any) -> Any:
        import torch
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group, device=torch.device("cpu"))
        return box[0]

    def first(self, work: Callable[[], T]) -> T:
        if not self.leader:
            good, value = self._broadcast(None)
            if good:
                return value
            raise Told(*value)
        try:
            value = work()
        except BaseException as error:
            self._broadcast((False, (str(error), getattr(error, "exit_code", 1))))
            raise
        self._broadcast((True, value))
        return value

    def require_same(self, what: str, value: Any, describe: Callable[[Any, Any], str | None]) -> None:
        import torch.distributed as dist

        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, value, group=self.group)
        for rank, theirs in enumerate(held):
            if theirs != held[0]:
                words = describe(held[0], theirs) or "it differs"
                kind = GnomonError if self.leader else Told
                raise kind(f"process {rank} has another {what} than process 0: {words}; give all of them the same")

    def report(self, found: str) -> str:
        said = self.merged({f"process {self.rank:05d}": found})
        own = ("every module", "not found")  # said of loss and norm, which all processes share
        named = (f"process {int(who[8:])}: {what}" for who, what in sorted(said.items()) if not _any(own, what))
        return next(named, found)

    def require_plan(self, plan: Plan) -> None:
        from gnomon.train.checkpoint import difference

        self.require_same("plan", plan.to_dict(), difference)
        self.first(lambda: Mesh.parse(self.mesh).require_plan(plan))

    def merged(self, mine: dict[str, str]) -> dict[str, str]:
        """What all processes hold, in one dictionary."""
        import torch.distributed as dist

        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, mine, group=self.group)
        return {key: value for part in held for key, value in part.items()}

    def agreed(self, flag: bool) -> bool:
        return any(values[0] for values in self.gathered([float(flag)]))

    def meet(self) -> None:
        self.gathered([0.0])

    def gathered(self, values: Sequence[float]) -> list[list[float]]:
        """The values of every process, in order of rank, the same bits everywhere."""
        import torch
        import torch.distributed as dist

        mine = torch.tensor(list(values), dtype=torch.float64)
        held = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(held, mine, group=self.group)
        return [part.tolist() for part in held]

    def tell(self, job: dict[str, Any] | None) -> None:
        self.told = True
        self._broadcast(job)

    def hear(self) -> dict[str, Any] | None:
        """What the leader tells; None when there is nothing to do."""
        return self._broadcast(None)

    @contextlib.contextmanager
    def hold(self, path: Path, what: str) -> Iterator[None]:
        with contextlib.ExitStack() as held:

            def take() -> None:
                held.enter_context(Lock(path, what))

            self.first(take)
            yield

    @contextlib.contextmanager
    def watched(self, whole: Callable[[], str]) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if not _any(LOST, str(error).lower()):
                raise
            raise JobFailed(
                f"process {self.rank} of {self.size}: another process of this run is gone; {whole()}; "
                "the same command goes on from there"
            ) from error


def _any(parts: Sequence[str], text: str) -> bool:
    return any(part in text for part in parts)


def started() -> int:
    """How many processes torchrun started, this one included; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined(
    mesh: str = "", rendezvous: str = "env://", rank: int | None = None, size: int | None = None
) -> Iterator[Crew]:
    """The crew that this process belongs to while the block runs: ALONE without torchrun.

    mesh: as Mesh.parse reads it; all along `data` when "". rendezvous: where they meet, as torch.distributed takes it;
    env:// is torchrun's. rank, size: read from the environment when None. On GPUs each process takes the one with its
    local rank. Raises GnomonError when there is no such mesh or it has not as many places, JobFailed when the others do
    not come.
    """
    size = started() if size is None else size
    rank = int(os.environ.get("RANK", "0")) if rank is None else rank
    try:
        arranged = Mesh.parse(mesh) if mesh else Mesh(data=size)
        arranged.require_world(size)
    except GnomonError as error:
        raise error if rank == 0 else Told(str(error)) from None
    if size == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank % torch.cuda.device_count())))
    try:
        store, rank, size = next(iter(dist.rendezvous(rendezvous, rank, size)))
        # After a restart torchrun's store still holds the addresses of the processes that are gone (torch 2.13).
        attempt = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)} of {size}"
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        dist.init_process_group(backend, store=dist.PrefixStore(attempt, store), rank=rank, world_size=size)
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise JobFailed(f"process {rank} of {size}: the others were not found ({why}); start all of them") from error
    try:
        yield Processes(rank, size, arranged, group)
    finally:
        # After a lost process there is nobody to say goodbye to, and nothing that waits for it.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def shared_by(crew: Crew) -> dict[str, Any]:
    """What train() needs to know of a crew: train(plan, corpus, folder, **shared_by(crew))."""
    if not isinstance(crew, Processes):
        return {}
    import functools

    from gnomon.train.parallel.learner import ShardedLearner
    from gnomon.train.parallel.store import ShardedStore

    learner = functools.partial(ShardedLearner, mesh=Mesh.parse(crew.mesh), crew=crew)
    return {"learner": learner, "store": ShardedStore(crew), "crew": crew}
