"""A target starts from its entry, with the seeds that the entry's hash gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import ModelShape, Optimisation, Plan
from gnomon.registry import (
    Registry,
    hash_of_target,
    require_entry,
    run_id_of,
    seeded_target,
    seeds_from,
    self_attested,
    without_seeds,
)

Body = Callable[..., dict[str, Any]]
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


def test_a_target_without_an_entry_refuses_to_start(registry: Registry, forecast: Body) -> None:
    registry.register(forecast(16))
    with pytest.raises(GnomonError, match=r"refuses to start without an entry; .* --unregistered"):
        require_entry(registry, forecast(32)["target_hash"])


def test_the_gate_opens_on_the_first_entry(registry: Registry, forecast: Body) -> None:
    first = registry.register(forecast())
    registry.register(forecast(law="another"))
    assert require_entry(registry, first.body["target_hash"]) == first


def test_an_abandoned_target_does_not_start_again(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    registry.abandon(entry.hash, "it looked bad")
    registry.register(forecast())
    with pytest.raises(GnomonError, match="was abandoned, which is final"):
        require_entry(registry, entry.body["target_hash"])


def test_the_gate_stays_shut_on_a_broken_registry(registry: Registry, forecast: Body) -> None:
    entry = registry.register(forecast())
    registry.path.write_bytes(registry.path.read_bytes().replace(b"1.35", b"1.45"))
    with pytest.raises(GnomonError, match="does not have the hash that it states"):
        require_entry(registry, entry.body["target_hash"])


def test_seeds_are_the_ones_that_old_entries_were_run_with() -> None:
    assert seeds_from("0" * 64) == (7657510498739062387, 8411101100303998654)


@settings(deadline=None)
@given(one=hashes, other=hashes)
def test_seeds_fit_63_bits_and_differ(one: str, other: str) -> None:
    assert all(0 <= seed < 2**63 for seed in seeds_from(one))
    assert len({*seeds_from(one), *seeds_from(other)}) == (2 if one == other else 4)


@pytest.mark.parametrize("text", ["", "abc", "G" * 64, "A" * 64])
def test_seeds_need_a_hash(text: str) -> None:
    with pytest.raises(GnomonError, match="64 hexadecimal digits"):
        seeds_from(text)


def test_a_real_plan_has_the_run_id_that_its_entry_names(registry: Registry, forecast: Body) -> None:
    shape = ModelShape(vocab=1024, context=256, width=64, depth=2)
    optimisation = Optimisation(0.006, 64, 2, 1.0, 0.1, 0.9, 0.95)
    plan = Plan(shape, optimisation, steps=100, batch_rows=8, seed=5, order_seed=6, corpus="c" * 64)
    target = without_seeds(plan.to_dict())
    assert hash_of_target(plan.to_dict()) == hash_of_target(target)
    entry = registry.register(forecast(target=target, target_hash=hash_of_target(target)))
    (read,) = Registry(registry.path).entries()
    seeded = Plan.from_dict(seeded_target(read))
    assert (seeded.seed, seeded.order_seed) == seeds_from(entry.hash)
    assert seeded.run_id == run_id_of(entry)
    assert (seeded.shape, seeded.steps) == (plan.shape, plan.steps)


def test_an_entry_without_a_witness_is_self_attested(registry: Registry, forecast: Body) -> None:
    assert self_attested(registry, registry.register(forecast()))
