"""Which paper a file comes from, and which of its metrics and families are scored: rules first, then a short table.

A file's source is the first part of its name without a trailing year ("gadre2024_loss" is gadre's), a column `source`
wins. The table names published sets whose names hide what they share. Nothing here depends on how well a law fits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gnomon.forecast.scorecard.columns import File

# Values of the column `source` that name who collected the numbers; the paper is then told by the column `model`.
COLLECTORS = {"ml_scalefit": "model"}
RENAMED = {"marin_202603": "marin", "gemstones": "gemstone"}

# file stem -> the metric of a file with several. Others: a validation loss, else the first.
HEADLINES = {"gadre2024_loss": "loss:c4_val", "gemstones_val": "loss:dclm", "xlstm_isoflop_llama": "val/.dclm_loss"}

_BOTH = frozenset({"rolling_origin", "isoflop"})
_ROLLING, _ISOFLOP, _NEITHER = frozenset({"rolling_origin"}), frozenset({"isoflop"}), frozenset[str]()
# file stem -> (protocols, why no more).
FILES = {
    "chinchilla_epoch": (_ROLLING, "isoFLOP minima are read from the other digitisation of the same figure"),
    "chinchilla_mlscalefit_isoflop": (_ISOFLOP, "the same figure as chinchilla_epoch, which rolling origin scores"),
    "marin_comma_runs": (_NEITHER, "the same runs as marin_isoflop"),
    "marin_dclm_runs": (_NEITHER, "the same runs as marin_isoflop"),
}
# file stem -> its families that rolling origin and isoFLOP score: the rest are the same runs under another warm-up or
# parameter count.
FAMILIES = {
    "porian_isoflop": (
        "porian_rw_base_short_chinchilla_standard",
        "porian_rw_tuned_short_const_standard",
        "porian_owt2_tuned_short_const_standard",
    )
}


def source_of(file: File, rows: np.ndarray) -> str:
    """The source of these rows: the column `source` where it is filled, else from the file's name."""
    stated = np.unique(file.text("source")[rows]) if "source" in file else np.array([])
    if len(stated) == 1 and stated[0]:
        name = str(stated[0])
        column = COLLECTORS.get(name)
        if column is not None and column in file:
            return first_part(str(file.text(column)[rows][0]))
        return RENAMED.get(name, name)
    first = first_part(file.stem)
    return RENAMED.get(first, first)


def first_part(name: str) -> str:
    """ "gadre2024_loss" -> "gadre"."""
    part = re.split(r"[_\-.\s]", name.lower())[0]
    return part.rstrip("0123456789") or part


def headline(metrics: list[str], stem: str) -> str | None:
    """The one metric that is scored; None when there is none."""
    if HEADLINES.get(stem) in metrics:
        return HEADLINES[stem]
    validation = [m for m in metrics if "val" in m.lower()]
    ordered = validation or metrics
    return ordered[0] if ordered else None


def shown(stem: str, family: str) -> tuple[frozenset[str], str]:
    """The protocols that a known file's family is in, and why no more; every protocol for files that are not known."""
    if stem in FAMILIES and family not in FAMILIES[stem]:
        return _NEITHER, "the runs of another family under another schedule or parameter count"
    return FILES.get(stem, (_BOTH, ""))
