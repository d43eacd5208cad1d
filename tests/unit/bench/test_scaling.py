"""The scaling model, compared with sums computed by hand and with NVIDIA's published figures."""

import math

import pytest

from tinyunet.bench.scaling import (
    ETHERNET,
    IMAGE_S,
    LAUNCH_S,
    Link,
    allreduce,
    communication,
    needed_bandwidth,
    rows,
    step_times,
    table,
)
from tinyunet.model.unet import PARAMETERS

LINK = Link(alpha=1e-5, beta=1e9)
GRADIENTS = 4 * 1_850_305  # bytes


def test_a_large_message_uses_the_ring_and_a_small_message_the_trees() -> None:
    assert allreduce(8e6, 4, LINK) == pytest.approx(2 * 3 * (1e-5 + 8e6 / 4 / 1e9))
    assert allreduce(8, 16, LINK) == pytest.approx(2 * 4 * 1e-5 + 2 * 8 / 1e9)
    assert allreduce(8e6, 1, LINK) == 0.0


def test_the_step_time_matches_the_published_throughput() -> None:
    one_gpu = 16 / (LAUNCH_S + 16 * IMAGE_S)
    four_gpus = 4 * 4 / (LAUNCH_S + 4 * IMAGE_S)
    assert one_gpu == pytest.approx(255.26)
    assert four_gpus == pytest.approx(691.19)


def test_one_node_uses_no_network_and_fp16_sends_half_the_bytes() -> None:
    assert communication(8, gradient_bytes=4 * PARAMETERS) < 0.001
    full, half = (communication(512, gradient_bytes=width * PARAMETERS) for width in (4, 2))
    assert half < full < 2 * half, "fp16 does not halve the latency"


def test_two_nodes_exchange_the_gradients_and_the_sums_once_each_way() -> None:
    """16 GPUs, by hand: rings of 8 over NVLink for the gradients, a ring of 2 over Ethernet."""
    node = 14 * (3e-6 + GRADIENTS / 8 / 300e9)  # 0.077 ms; the tree takes 2·3·3 µs + 0.049 ms = 0.067 ms
    tree = 18e-6 + 2 * GRADIENTS / 300e9
    network = 2 * (20e-6 + GRADIENTS / 2 / 12.5e9)  # 0.632 ms
    sums = 18e-6 + 2 * 32 / 300e9 + 2 * (20e-6 + 32 / 2 / 12.5e9)
    assert communication(16, gradient_bytes=GRADIENTS) == pytest.approx(min(node, tree) + network + sums)


@pytest.mark.parametrize("step_s", [0.0627, 0.0143])
def test_the_efficiency_of_one_gpu_is_one_and_falls_with_their_number(step_s: float) -> None:
    found = list(rows(step_s))
    assert [row.gpus for row in found] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    efficiencies = [row.efficiency for row in found]
    assert efficiencies[0] == 1.0
    assert efficiencies == sorted(efficiencies, reverse=True)
    for row in found:
        assert row.images_per_s == pytest.approx(row.gpus * 16 / step_s * row.efficiency)
        assert row.compressed >= row.efficiency
        assert row.efficiency == pytest.approx(step_s / (step_s + row.seconds))


def test_a_faster_step_is_less_efficient() -> None:
    slow, fast, faster = (next(rows(step_s, [512])).efficiency for step_s in step_times().values())
    assert slow == pytest.approx(0.973, abs=0.001)
    assert fast < 0.9
    assert faster < 0.8


@pytest.mark.parametrize("gpus", [16, 64, 512])
@pytest.mark.parametrize("step_s", [0.0627, 0.0143])
def test_with_the_needed_bandwidth_the_efficiency_is_95_percent(gpus: int, step_s: float) -> None:
    network = Link(ETHERNET.alpha, needed_bandwidth(gpus, step_s))
    seconds = communication(gpus, gradient_bytes=GRADIENTS, network=network)
    sums = allreduce(32, gpus // 8, network)  # 32 bytes; the model takes only their latency
    latency = allreduce(32, gpus // 8, Link(ETHERNET.alpha, math.inf))
    assert step_s / (step_s + seconds - sums + latency) == pytest.approx(0.95)


def test_within_a_node_no_network_is_needed_and_a_short_step_cannot_hide_the_latency() -> None:
    assert needed_bandwidth(8, 0.01) == 0.0
    assert math.isinf(needed_bandwidth(512, 0.005))


def test_the_table_of_a_step_of_16_ms_states_what_input_and_start_need() -> None:
    """By hand: 8 · 16 images / 16 ms = 8,000 img/s; / 4,520 = 1.8 cores; 16 · 524 kB / 16 ms = 0.52 GB/s."""
    (text,) = table({"mine": 0.016}, start_s=8.0)
    first, *_, inputs, start = text.splitlines()
    assert first == "mine: 1,000 img/s, a step of 16 images takes 16.0 ms"
    assert inputs == "  input: 8,000 img/s per node of 8 GPUs, 1.8 CPU cores, 0.52 GB/s to each GPU"
    assert start == "  start: 8 s are 500 steps, 5 % of the time at 9,500 steps"
