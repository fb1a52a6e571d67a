"""May branches of a trunk stand in a law's table? Only where what they cost was measured and is small.

A trunk's rates, batch and decay belong to one horizon; its branches are runs of other horizons that were not tuned for
them. `gnomon bench trunk` measures that regret against runs from scratch and leaves a certificate here, per family and
text. Without one the rows of branches stay marked, and forecasts leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gnomon.common.errors import GnomonError
from gnomon.common.files import read_json, write_json
from gnomon.common.hashing import content_hash
from gnomon.recipe.flops import train_flops
from gnomon.recipe.plan import Plan
from gnomon.recipe.values import FamilyRecipe

REGRET_ALLOWED = 0.003  # of the loss, at either end
BEYOND = 0.02  # how far outside the measured compute a branch may lie, as a share of it
CERTIFICATE_SCHEMA = 1


@dataclass(frozen=True)
class Certificate:
    """What branches cost this family on this text, from shortest to longest FLOPs.

    regret: by end ("shortest", "longest"), the mean over seeds and held-out sets of (branch - scratch) / scratch.
    interval: 90 per cent, by end. record: the whole measurement.
    """

    family: str
    width: int
    seeds: int
    shortest: float
    longest: float
    regret: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]
    record: Mapping[str, Any]

    @property
    def admits(self) -> bool:
        """Whether branches may be fitted: neither end's loss differs by more than is allowed, in either direction."""
        return max(abs(value) for value in self.regret.values()) <= REGRET_ALLOWED

    def covers(self, plan: Plan) -> bool:
        """Whether a branch's plan lies within what was measured."""
        flops = train_flops(plan)
        return self.shortest * (1 - BEYOND) <= flops <= self.longest * (1 + BEYOND)

    def note(self) -> str:
        """What an admitted row says of itself."""
        worst = max(self.regret.values(), key=abs)
        return f"branched from a trunk, measured regret {100 * worst:+.2f} %"


def family_hash(family: FamilyRecipe, corpus: str) -> str:
    """What a certificate is for: every rule of the family, and the text."""
    return content_hash({"family": family.model_dump(mode="json"), "corpus": corpus})[:16]


def certificate_path(home: Path, family: str) -> Path:
    return home / "ladders" / f"trunk-{family}.json"


def write_certificate(home: Path, certificate: Certificate) -> Path:
    path = certificate_path(home, certificate.family)
    write_json(path, asdict(certificate), CERTIFICATE_SCHEMA)
    return path


def read_certificate(home: Path, family: str) -> Certificate | None:
    """The certificate of a family, None where nothing was measured. Raises GnomonError when it is unreadable."""
    path = certificate_path(home, family)
    if not family or not path.exists():
        return None
    value = read_json(path, CERTIFICATE_SCHEMA)
    value.pop("schema_version")
    try:
        interval = {end: (low, high) for end, (low, high) in value.pop("interval").items()}
        return Certificate(**value, interval=interval)
    except (KeyError, TypeError, ValueError) as error:
        raise GnomonError(f"{path}: {error}; `gnomon bench trunk` writes it anew") from None
