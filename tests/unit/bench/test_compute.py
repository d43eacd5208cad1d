"""Operation counts computed by hand, and the measurements of training, prediction and input."""

from typing import Any

import pytest

from tests.unit.bench.layers import MULTIPLY_ADDS
from tinyunet.bench.compute import BATCH_SIZES, multiply_adds, precisions
from tinyunet.model.precision import resolve_precision
from tinyunet.model.unet import build_unet


def test_multiply_adds_are_those_of_the_published_layers() -> None:
    assert multiply_adds(build_unet(32, plain=True)) == MULTIPLY_ADDS == 71_630_848
    assert multiply_adds(build_unet(64, plain=True)) == 4 * MULTIPLY_ADDS
    assert round(256 * MULTIPLY_ADDS / 1e9, 2) == 18.34, "GMAC at 512×512"


@pytest.mark.parametrize(
    ("bfloat16", "expected"), [(True, ("float32", "mixed_bfloat16")), (False, ("float32",))]
)
def test_an_emulated_precision_is_not_measured(
    bfloat16: bool, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyunet.model.precision.cpu_has_bfloat16", lambda: bfloat16)
    assert precisions() == expected


def test_precisions_and_plain_keras_are_measured_side_by_side(measured: dict[str, Any]) -> None:
    fastest = resolve_precision("auto")
    assert list(measured["train"]) == [*(f"train {p}" for p in precisions()), f"plain Keras {fastest}"]
    assert measured["train"]["train float32"]["step_ms"]["count"] == 2
    assert set(measured["input"]["input"]) == {"images_per_s", "images_per_core_s"}
    for precision in precisions():
        assert {f"predict {precision} batch {n}" for n in BATCH_SIZES} < set(measured["predict"])
        engine = f"engine {precision.removeprefix('mixed_')}"
        assert {f"{engine} batch {n}" for n in BATCH_SIZES} < set(measured["predict"])
        assert f"{engine} / predict {precision}, batch 16" in measured["ratios"]


def test_the_gemm_ceiling_is_the_rate_of_products_divided_by_operations_per_image(
    measured: dict[str, Any],
) -> None:
    ceiling = measured["predict"]["GEMM ceiling float32"]
    expected = ceiling["gflop_per_s"]["median"] * 1e9 / (2 * MULTIPLY_ADDS)
    assert ceiling["images_per_s"]["median"] == pytest.approx(expected)
    ratio = measured["ratios"]["predict float32 / GEMM, batch 16"]["median"]
    rate = measured["predict"]["predict float32 batch 16"]["images_per_s"]["median"]
    assert ratio == pytest.approx(rate / expected)
