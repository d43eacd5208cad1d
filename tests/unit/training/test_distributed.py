"""What the ranks' border decides by itself; what several ranks do is in tests/distributed."""

import os

import pytest
import tensorflow as tf

from tinyunet.core.errors import UserError
from tinyunet.training.distributed import (
    GROUP_BYTES,
    SIZE_VARIABLES,
    World,
    _groups,
    launched_size,
    threads_per_rank,
)


def test_groups_are_neighbours_in_order_and_large_but_for_the_first() -> None:
    sizes = [300, 200_000, 100, 90_000, 50_000, 150_000, 10, 280_000]
    tensors = [tf.fill([size], float(place)) for place, size in enumerate(sizes)]
    groups = _groups(tensors)
    assert [float(tensor[0]) for group in groups for tensor in group] == list(range(len(sizes)))
    assert all(sum(len(t) * 4 for t in group) >= GROUP_BYTES for group in groups[1:])
    assert len(groups) == 3
    assert _groups([]) == [[]]


def test_the_ranks_of_a_host_share_its_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_per_rank(World()) == cores
    assert threads_per_rank(World(1, 2, 1, 2)) == max(1, cores // 2)
    assert threads_per_rank(World(0, 2 * cores, 0, 2 * cores)) == 1


def test_the_world_size_is_what_the_first_launcher_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SIZE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert launched_size() == 1
    monkeypatch.setenv("PMI_SIZE", "3")
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "")
    assert launched_size() == 2


@pytest.mark.parametrize("value", ["x", "-1", "0", "1.5"])
def test_a_world_size_that_is_none_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", value)
    with pytest.raises(UserError, match=f"OMPI_COMM_WORLD_SIZE is '{value}'; expected the number of ranks"):
        launched_size()
