"""Training beside the peers: one optimiser step of each as a callable, in the fastest of its documented CPU settings.

A peer runs its own loop in its own process and environment (workflow/peer_training.py); a call lets it take one step
and returns when that is over, so its steps take turns with gnomon's. Which precision is fastest here is measured.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gnomon.recipe.plan import Plan
from gnomon.workflow import peer_training
from gnomon.workflow.peer_process import PeerProcess
from gnomon.workflow.peers import installed, python_of

PEERS = tuple(peer_training.PRECISIONS)
WARMUP, TRIED = 2, 4  # steps by which a precision is judged


class Peer(PeerProcess):
    """A peer's process; a call takes one optimiser step.

    setting: the precision of the model in hand, and whether it is compiled. tried: seconds of a step by setting.
    """

    def __init__(self, home: Path, name: str, threads: int) -> None:
        """Raises GnomonError when its environment is not there."""
        super().__init__(python_of(home, name), peer_training.__file__, name, threads)
        self.threads, self.setting = threads, ""
        self.tried: dict[str, float] = {}

    def begin(self, plan: Plan, precision: str, compiled: bool = False) -> None:
        """Make a model of the plan's shape and wait until it could take its first step."""
        shape = plan.shape
        request = {
            "peer": self.name,
            "shape": {
                "vocab": shape.vocab, "context": shape.context, "width": shape.width, "depth": shape.depth,
                "heads": shape.heads, "kv_heads": shape.key_heads, "head_dim": shape.head_dim,
                "mlp": shape.mlp_width,
            },
            "rows": plan.batch_rows, "precision": precision, "compile": compiled, "threads": self.threads,
        }  # fmt: skip
        self.answer(json.dumps(request))
        self.setting = precision + (", compiled" if compiled else "")

    def __call__(self) -> None:
        """One optimiser step."""
        self.answer("step")


def choose_fastest(peer: Peer, plan: Plan, compiled: bool = False) -> None:
    """Leave the peer with its fastest setting, and what each cost in `tried`: the best of a few steps.

    compiled: try torch.compile too, which takes it a minute or more a setting.
    """
    choices = [(p, c) for p in peer_training.PRECISIONS[peer.name] for c in ((False, True) if compiled else (False,))]
    seconds = []
    for precision, whether in choices:
        peer.begin(plan, precision, whether)
        times = []
        for _ in range(WARMUP + TRIED):
            began = time.perf_counter()
            peer()
            times.append(time.perf_counter() - began)
        seconds.append(min(times[WARMUP:]))
        peer.tried[peer.setting] = seconds[-1]
    peer.begin(plan, *choices[seconds.index(min(seconds))])


@contextmanager
def peer_steps(home: Path, plan: Plan, threads: int, compiled: bool = False) -> Iterator[dict[str, Peer]]:
    """One step of each peer that is set up, by name, on a Llama of the plan's shape and batch; {} where none is.

    Each is callable, and its `setting` is the fastest found here.
    """
    with ExitStack() as stack:
        steps: dict[str, Peer] = {}
        for name in PEERS:
            if installed(home, name) is not None:
                steps[name] = peer = Peer(home, name, threads)
                stack.callback(peer.close)
                choose_fastest(peer, plan, compiled)
        yield steps
