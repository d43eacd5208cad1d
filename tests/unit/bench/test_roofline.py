"""The roofline, compared with operations and bytes that are counted by hand."""

import pytest

from tests.unit.bench.layers import MULTIPLY_ADDS
from tinyunet.bench.roofline import A100, H100, Device, Kernel, image_seconds, kernels
from tinyunet.model.unet import build_unet

DEVICE = Device("d", flops=100.0, bandwidth=10.0)


def test_a_kernel_takes_the_longer_of_its_operations_and_its_bytes() -> None:
    steps = [
        Kernel(flops=500.0, moved=10.0, fusable=False),  # 5 s of operations, 1 s of bytes
        Kernel(flops=100.0, moved=20.0, fusable=False),  # 1 s and 2 s
        Kernel(flops=0.0, moved=30.0, fusable=True),  # 3 s of bytes
    ]
    assert image_seconds(DEVICE, steps, fused=False) == pytest.approx(5 + 2 + 3)
    assert image_seconds(DEVICE, steps, fused=True) == pytest.approx(5 + 2)


def test_operations_are_those_of_three_passes_without_the_input_gradient_of_the_image() -> None:
    found = kernels(build_unet(32, plain=True))
    first = 288 * 32**2  # multiply-adds of the first layer: 3×3 kernel, 1 and 32 channels
    assert sum(one.flops for one in found) == 2 * (3 * MULTIPLY_ADDS - first)


def test_bytes_are_those_of_the_layers_inputs_and_outputs() -> None:
    found = kernels(build_unet(32, plain=True))
    scaling, first, relu = found[:2], found[2:4], found[4]
    assert {one.moved for one in scaling} == {2 * (32**2 + 32**2)}
    assert {one.moved for one in first} == {2 * (32**2 + 32 * 32**2)}
    assert relu.moved == 6 * 32 * 32**2
    pooling = [one for one in found if one.moved == 2 * 32 * (32**2 + 16**2) and one.fusable]
    assert len(pooling) == 2, "the first pooling, forward and backward"


def test_the_rates_of_the_docstring_are_those_of_the_published_model() -> None:
    found = kernels(build_unet(512, plain=True))
    rates = [
        round(1 / image_seconds(one, found, fused=fused)) for one in (A100, H100) for fused in (False, True)
    ]
    assert rates == [1118, 1951, 2505, 4508]
    assert round(sum(one.flops for one in found) / 1e9) == 110
    assert round(sum(one.moved for one in found) / 1e9, 2) == 1.29
