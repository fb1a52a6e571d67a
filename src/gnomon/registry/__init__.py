"""Forecasts that are sealed before their outcome exists: the chain, the gate, verification, outside anchors, proofs."""

from gnomon.registry.bodies import BY_HAND, FORECAST_FIELDS, by_hand, hash_of_target, without_seeds
from gnomon.registry.chain import GENESIS, SCHEMA_VERSION, Entry
from gnomon.registry.gate import (
    Attestation,
    attestation,
    require_entry,
    run_id_of,
    seeded_target,
    seeds_from,
    self_attested,
)
from gnomon.registry.registry import LogLine, Registry, flops_before
from gnomon.registry.verify import Problem, sound, verify

__all__ = [
    "BY_HAND",
    "FORECAST_FIELDS",
    "GENESIS",
    "SCHEMA_VERSION",
    "Attestation",
    "Entry",
    "LogLine",
    "Problem",
    "Registry",
    "attestation",
    "by_hand",
    "flops_before",
    "hash_of_target",
    "require_entry",
    "run_id_of",
    "seeded_target",
    "seeds_from",
    "self_attested",
    "sound",
    "verify",
    "without_seeds",
]
