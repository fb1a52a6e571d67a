"""What a finished run leaves: result.json, written once, whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json, write_json

RESULT_FILE = "result.json"
RESULT_SCHEMA = 1


@dataclass(frozen=True)
class Result:
    """status: "done", or "diverged" when the gradient stopped being a number (steps: how far it came).

    flops: counted for all tokens of the plan that were seen; a branch's count includes its trunk's. seconds: of
    training, over all sittings. train_loss_nats: mean over the last window of the metrics, None when it is no number.
    evaluations: fields of Evaluation by set. inexact: some of it ran where its execution could not be honoured.
    trunk: it is a branch of another run. terms: what it minimised. notes: what a reader should know, a line each. code:
    hash of the package's source that finished it. guards: how often the guards saw what; guards.json tells of each.
    planned: memory_bytes and disk_bytes that it was said to need before it started.
    """

    run_id: str
    status: str
    steps: int
    tokens: int
    flops: float
    seconds: float
    train_loss_nats: float | None
    evaluations: dict[str, dict[str, Any]]
    registry_head: str
    device: str
    dtype: str
    peak_rss_bytes: int
    tokens_per_s: float
    inexact: bool = False
    trunk: bool = False
    terms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    code: str = ""
    guards: dict[str, int] = field(default_factory=dict)
    planned: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / RESULT_FILE, self.to_dict(), RESULT_SCHEMA)

    @classmethod
    def read(cls, run_dir: Path) -> Result | None:
        """The result in a run's folder, None when the run is not finished. Raises GnomonError when it is unreadable."""
        path = run_dir / RESULT_FILE
        if not path.exists():
            return None
        value = read_json(path, RESULT_SCHEMA)
        value.pop("schema_version")
        try:
            return cls(**{**value, "terms": tuple(value["terms"]), "notes": tuple(value["notes"])})
        except (KeyError, TypeError) as error:
            raise GnomonError(f"{path}: {error}; this is not a result that this gnomon wrote") from None
