"""The scaling model, compared with sums computed by hand and with NVIDIA's published figures."""

import pytest

from tinyunet.bench.scaling import IMAGE_S, LAUNCH_S, Link, allreduce, communication, rows
from tinyunet.model.unet import PARAMETERS

LINK = Link(alpha=1e-5, beta=1e9)


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


def test_efficiency_starts_at_one_and_falls_with_the_number_of_gpus() -> None:
    efficiencies = [efficiency for gpus, width, _, efficiency in rows() if width == 4]
    assert efficiencies[0] == 1.0
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert 0.9 < efficiencies[-1] < 1.0
