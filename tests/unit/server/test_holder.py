"""The active model and its predecessor."""

from typing import TYPE_CHECKING, cast

from tinyunet.server.holder import CurrentModel, Served

if TYPE_CHECKING:
    from tinyunet.engine.engine import Engine


def engine() -> "Engine":
    return cast("Engine", object())


def test_a_swap_keeps_the_model_that_requests_have_taken_and_its_name() -> None:
    current = CurrentModel(Served(engine(), "part-7", "1"))
    taken = current.active
    assert current.previous is None
    new = engine()
    active = current.swap(new, "2")
    assert (active.engine, active.name, active.version) == (new, "part-7", "2")
    assert current.active is active
    assert current.previous is taken
    assert taken.version == "1"


def test_versions_are_found_until_the_second_swap() -> None:
    current = CurrentModel(Served(engine(), "part-7", "1"))
    first, second = current.active, current.swap(engine(), "2")
    assert current.find("part-7") is second
    assert current.find("part-7", "2") is second
    assert current.find("part-7", "1") is first
    assert current.find("part-8") is None
    current.swap(engine(), "3")
    assert current.find("part-7", "1") is None
