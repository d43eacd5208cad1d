"""What a registered judgement is known by; the registry itself is in tests/services."""

from typing import Any

import pytest

from tinyunet.registry.register import _model_key

JUDGED: dict[str, Any] = {
    "threshold": 0.5,
    "test": {"image_threshold": 0.5, "dice_defective": 0.8},
    "data": {"test_digest": "d" * 64},
}


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.4},
        {"test": JUDGED["test"] | {"image_threshold": 0.4}},
        {"test": JUDGED["test"] | {"dice_defective": 0.7}},
        {"data": {"test_digest": "e" * 64}},
    ],
    ids=["threshold", "image_threshold", "dice_defective", "test_digest"],
)
def test_a_model_judged_otherwise_is_another_version(change: dict[str, Any]) -> None:
    assert _model_key("a" * 64, JUDGED | change) != _model_key("a" * 64, JUDGED)


def test_the_same_judgement_of_another_model_is_another_version() -> None:
    assert _model_key("b" * 64, JUDGED) != _model_key("a" * 64, JUDGED)
    other = JUDGED | {"test": JUDGED["test"] | {"image_ap": 0.9}}
    assert _model_key("a" * 64, other) == _model_key("a" * 64, JUDGED), "a score more changes nothing"
