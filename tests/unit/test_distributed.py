"""What the ranks' border decides by itself; what several ranks do is in tests/distributed."""

import os

import tensorflow as tf

from tinyunet.runtime.distributed import GROUP_BYTES, World, _groups, threads_per_rank


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
