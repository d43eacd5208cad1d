"""Ratios and figures with numbers computed by hand."""

from tinyunet.bench.config import BenchConfig
from tinyunet.bench.measure import Key, spread
from tinyunet.bench.report import figures, ratios


def test_ratios_are_computed_within_a_round() -> None:
    """The machine becomes ten times slower between two rounds, which changes no ratio."""
    values = {
        Key("train", "train mixed_bfloat16", "images_per_s"): [40.0, 4.0],
        Key("train", "train float32", "images_per_s"): [20.0, 2.0],
        Key("train", "train float32", "step_ms"): [800.0, 800.0, 8000.0],
    }
    expected = {"train mixed_bfloat16 / float32": spread([2.0])}
    assert ratios(values, BenchConfig(), "mixed_bfloat16") == expected
    assert figures(values)["train"]["train float32"] == {
        "images_per_s": {"median": 11.0, "min": 2.0, "max": 20.0},
        "step_ms": {"count": 3, "p50": 800.0, "p90": 8000.0, "p99": 8000.0},
    }
