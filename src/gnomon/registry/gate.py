"""The gate: a target starts from its entry or not at all.

The target's weight seed and data order are drawn from the entry's hash, and the hash covers the forecast. So a run
with these seeds cannot have begun before the forecast was written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.common.errors import GnomonError
from gnomon.common.hashing import content_hash
from gnomon.registry.chain import Entry, is_hash

if TYPE_CHECKING:
    from gnomon.registry.registry import Registry


@dataclass(frozen=True)
class Attestation:
    """Who vouches for the time of an entry. outside: somebody else does. label: as reports print it."""

    outside: bool
    label: str


def require_entry(registry: Registry, target_hash: str) -> Entry:
    """The entry that a target starts from: its first. Raises GnomonError when there is none, or it was abandoned."""
    entry = registry.first(target_hash)
    if entry is None:
        raise GnomonError(
            f"{registry.path}: no entry for target {target_hash[:12]}; a target refuses to start without an entry; "
            "register its forecast, or pass --unregistered, which every later table shows"
        )
    if registry.status(entry.hash) == "abandoned":
        raise GnomonError(
            f"{registry.path}: target {target_hash[:12]} was abandoned, which is final; "
            "register a target with another plan, or pass --unregistered, which every later table shows"
        )
    return entry


def seeds_from(entry_hash: str) -> tuple[int, int]:
    """Weight seed and order seed of the target that this entry forecasts, each in [0, 2^63)."""
    if not is_hash(entry_hash):
        raise GnomonError(f"registry: {entry_hash!r} is no entry's hash; that is 64 hexadecimal digits")
    weights, order = (
        hashlib.sha256(f"gnomon target {use} seed\0{entry_hash}".encode()).digest() for use in ("weight", "order")
    )
    return int.from_bytes(weights[:8]) >> 1, int.from_bytes(order[:8]) >> 1


def seeded_target(entry: Entry) -> dict[str, Any]:
    """The registered plan with the seeds that its entry gives it: what the target is trained with."""
    seed, order_seed = seeds_from(entry.hash)
    return {**entry.body["target"], "seed": seed, "order_seed": order_seed}


def run_id_of(entry: Entry) -> str | None:
    """Id of the one run that this forecast is about; None when it was registered with seeded = False.

    As everywhere in gnomon, a run's id is the first sixteen digits of the hash of its whole plan.
    """
    return content_hash(seeded_target(entry))[:16] if entry.body.get("seeded", True) else None


def attestation(registry: Registry, entry: Entry, ca_file: Path | None = None) -> Attestation:
    """Whether an outside witness saw the registry with this entry and before its outcome, checked now.

    ca_file: certificates that time stamps are checked against; default: those that this machine trusts.
    """
    from gnomon.registry.anchor import check_anchor

    entries = registry.entries()
    position = {e.hash: e.index for e in entries}
    outcome = registry.outcome(entry.hash)
    end = outcome.index if outcome is not None else len(entries)
    remarks = []
    for anchor in entries:
        if anchor.kind != "anchor" or position.get(anchor.body["head"], -1) < entry.index:
            continue
        check = check_anchor(anchor, registry.path.parent, ca_file)
        if check.outside and anchor.index < end:
            return Attestation(True, f"anchored: {check.text}")
        remarks.append(f"{check.text}, but only after the outcome" if check.outside else check.text)
    return Attestation(False, "; ".join(["self-attested", *remarks]))


def self_attested(registry: Registry, entry: Entry, ca_file: Path | None = None) -> bool:
    """Whether nobody but the owner of the registry vouches for when this entry was written."""
    return not attestation(registry, entry, ca_file).outside
