"""The shape of a mesh: read, checked against processes and plan, and who reads which rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.common.errors import GnomonError
from gnomon.recipe.plan import Plan
from gnomon.train.parallel.mesh import Mesh, bounds


def test_what_it_prints_it_reads() -> None:
    for mesh in (Mesh(), Mesh(data=4), Mesh(2, 3, 4), Mesh(tensor=2)):
        assert Mesh.parse(str(mesh)) == mesh
    assert Mesh.parse(" tensor=2, data=3 ") == Mesh(1, 3, 2)
    assert str(Mesh(2, 1, 2)) == "replicate=2,tensor=2"


@pytest.mark.parametrize(
    "text", ["", "data", "data=", "data=two", "data=-1", "heads=2", "data=2,data=2", "data=2;tensor=2"]
)
def test_what_is_no_mesh_is_refused(text: str) -> None:
    with pytest.raises(GnomonError, match="replicate=NUMBER, data=NUMBER, tensor=NUMBER"):
        Mesh.parse(text)


def test_a_dimension_is_at_least_one() -> None:
    with pytest.raises(GnomonError, match="tensor is 0"):
        Mesh.parse("tensor=0")


def test_places_and_processes_are_as_many() -> None:
    Mesh(2, 2, 1).require_world(4)
    with pytest.raises(GnomonError, match="mesh data=4: it has places for 4 processes and 2 were started"):
        Mesh(data=4).require_world(2)
    with pytest.raises(GnomonError, match="1 was started"):
        Mesh(data=4).require_world(1)


def test_a_plan_must_fit(shared_plan: Callable[..., Plan]) -> None:
    plan = shared_plan()
    Mesh(7, 1, 4).require_plan(plan)
    with pytest.raises(GnomonError, match="8 shares of a step of 7 rows; each takes at least one row"):
        Mesh(2, 4).require_plan(plan)
    with pytest.raises(GnomonError, match="tensor=3 does not divide the model's 4 heads; it is one of 1, 2, 4"):
        Mesh(tensor=3).require_plan(plan)
    with pytest.raises(GnomonError, match="does not divide the model's 2 heads of keys; it is one of 1, 2"):
        Mesh(tensor=4).require_plan(shared_plan(kv_heads=2))
    with pytest.raises(GnomonError, match="does not divide the model's 97 columns of the MLP; it is one of 1"):
        Mesh(tensor=2).require_plan(shared_plan(exact_mlp=97))


@given(st.integers(1, 300), st.data())
def test_shares_cut_the_rows_evenly_and_lose_none(count: int, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, count))
    cut = [bounds(count, parts, part) for part in range(parts)]
    assert [row for start, stop in cut for row in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in cut]
    assert max(sizes) - min(sizes) <= 1


def test_neighbours_along_tensor_read_the_same_rows() -> None:
    mesh = Mesh(replicate=2, data=2, tensor=2)
    assert [mesh.share_of(rank) for rank in range(mesh.size)] == [0, 0, 1, 1, 2, 2, 3, 3]
