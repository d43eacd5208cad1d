"""Functions of one rank; tests/distributed runs several ranks."""

import os

import pytest
import tensorflow as tf

from tinyunet.core.errors import UserError
from tinyunet.training.distributed import (
    GROUP_BYTES,
    LOCAL_RANK_VARIABLES,
    SIZE_VARIABLES,
    World,
    _groups,
    launched_local_rank,
    launched_rank,
    launched_size,
    threads_per_rank,
)


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SIZE_VARIABLES, *LOCAL_RANK_VARIABLES):
        monkeypatch.delenv(name, raising=False)


def test_groups_are_neighbours_and_each_but_the_first_has_the_minimum_size() -> None:
    sizes = [300, 200_000, 100, 90_000, 50_000, 150_000, 10, 280_000]
    tensors = [tf.fill([size], float(index)) for index, size in enumerate(sizes)]
    groups = _groups(tensors)
    assert [float(tensor[0]) for group in groups for tensor in group] == list(range(len(sizes)))
    assert all(sum(len(tensor) * 4 for tensor in group) >= GROUP_BYTES for group in groups[1:])
    assert len(groups) == 3
    assert _groups([]) == [[]]


def test_the_ranks_of_a_host_divide_its_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_per_rank(World()) == cores
    assert threads_per_rank(World(1, 2, 1, 2)) == max(1, cores // 2)
    assert threads_per_rank(World(0, 2 * cores, 0, 2 * cores)) == 1


def test_size_and_rank_are_those_of_the_first_launcher_variable_with_a_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (launched_size(), launched_rank()) == (1, 0)
    for name, value in {"PMI_SIZE": "3", "HOROVOD_SIZE": "2", "OMPI_COMM_WORLD_SIZE": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOROVOD_RANK", "1")
    assert (launched_size(), launched_rank()) == (2, 1)


def test_the_rank_on_a_host_is_known_before_the_ranks_join_if_the_launcher_sets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert launched_local_rank() == 0
    monkeypatch.setenv("PMI_SIZE", "3")
    assert launched_local_rank() is None
    monkeypatch.setenv("MPI_LOCALRANKID", "1")
    assert launched_local_rank() == 1


@pytest.mark.parametrize("value", ["x", "-1", "0", "1.5"])
def test_a_world_size_that_is_no_positive_number_is_an_error(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", value)
    with pytest.raises(UserError, match=f"OMPI_COMM_WORLD_SIZE is '{value}'; expected the number of ranks"):
        launched_size()
