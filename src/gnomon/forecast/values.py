"""The values that travel through this room: the target asked about, the forecast given, the doctor's finding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gnomon.common.errors import GnomonError

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True)
class Target:
    """The run asked about.

    compute: training operations, counted as the table's `flops`; parameters: in the convention that the fit used
    (Fit.size_column, `parameters_matmul` where the table has it); tokens: trained on. attributes: what else is known
    of it (tokenizer, corpus, schedule, context, unique_tokens, ...), to be set against the table's runs.
    """

    compute: float
    parameters: float
    tokens: float
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("compute", "parameters", "tokens"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise GnomonError(f"target {name} is {value!r}; a positive number is expected")


@dataclass(frozen=True)
class Finding:
    """What the doctor says about a table. severity: fatal (no fit), warning (rows left out or the interval too
    narrow to trust), note. rows: the run ids concerned (empty: the whole table). effect: what it does to a forecast,
    with the direction, in a sentence."""

    code: str
    severity: str
    rows: tuple[str, ...]
    message: str
    effect: str = ""


@dataclass(frozen=True)
class Forecast:
    """What one metric of the target will be.

    quantiles: level as text ("0.05" … "0.95") -> value in unit. law: the member with the largest weight; parameters:
    its constants. shares: fractions of the forecast's variance (of log loss) that sum to 1: seed, evaluation, minimum,
    form, outcome. components: one {name, family, median, weight, rolling_error_pct} per member.
    last_point: the best value seen in the table, the baseline that a forecast must beat. flag: the number is noise, for
    flag_reason; mend: the cheapest run that would change that. trouble: chance that the plain Chinchilla form would
    miss this target by more than 5 %, from what the table looks like; None where it was not asked.
    """

    metric: str
    unit: str
    median: float
    quantiles: dict[str, float]
    law: str
    parameters: dict[str, float]
    shares: dict[str, float]
    components: list[dict[str, Any]]
    warnings: list[str]
    last_point: float
    seen: dict[str, Any]
    target: dict[str, Any] = field(default_factory=dict)
    flag: bool = False
    flag_reason: str = ""
    mend: str = ""
    trouble: float | None = None

    @property
    def half_width_pct(self) -> float:
        """Half of the 90 % interval, in percent of the median."""
        return 50.0 * (self.quantiles["0.95"] - self.quantiles["0.05"]) / self.median

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Forecast:
        """The forecast that to_dict wrote. Raises GnomonError when a field is missing or unknown."""
        try:
            return cls(**{k: v for k, v in value.items() if k != "schema_version"})
        except TypeError as error:
            raise GnomonError(f"forecast: {error}; this is not a forecast that this gnomon wrote") from None


def unit_of(metric: str) -> str:
    """The unit that a metric's name carries; "" when it carries none."""
    if metric.startswith("bits_per_byte"):
        return "bits per byte"
    return "nats per token" if metric.startswith("loss_nats") else ""
