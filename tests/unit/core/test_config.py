"""Configuration refuses what it does not know, in one line that names value and expectation."""

import pytest

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST, NVIDIA, PRESETS, find_preset, load_yaml, with_missing_options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepz": 1}, "unknown TrainConfig key 'stepz'; known keys: .*steps"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"steps": "many"}, "steps is 'many'; expected an int"),
        ({"steps": 2.5}, "steps is 2.5; expected an int"),
        ({"image_size": 100}, "image_size is 100; expected a multiple of 16"),
        ({"accumulate": 3}, "accumulate is 3; expected a divisor of the global batch 16"),
        ({"precision": "fp8"}, "precision is 'fp8'; expected one of auto, float32"),
        ({"learning_rate": -1}, "learning_rate is -1.0; expected more than 0"),
        ({"learning_rate": "inf"}, "learning_rate is inf; expected a finite number, more than 0"),
        ({"decay_rate": "nan"}, "decay_rate is nan; expected a finite number$"),
        ({"seed": -1}, "seed is -1; expected 0 to 4294967295"),
        ({"ema": 1.0}, "ema is 1.0; expected 0 to less than 1"),
        ({"deterministic": "maybe"}, "deterministic is 'maybe'; expected true or false"),
        (
            {"deterministic": True, "compression": "fp16"},
            "compression is 'fp16'; expected none with",
        ),
        ({"clean_fraction": 1.0}, "clean_fraction is 1.0"),
        ({"max_rotation": 181}, "max_rotation is 181.0; expected 0 to 180"),
        ({"max_zoom": 0.6}, "max_zoom is 0.6; expected 0 to 0.5"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FAST.replace(changes)


def test_text_is_read_as_the_fields_type() -> None:
    changed = FAST.replace({"steps": "300", "ema": "0.9", "deterministic": "true", "learning_rate": 1})
    assert (changed.steps, changed.ema, changed.deterministic, changed.learning_rate) == (300, 0.9, True, 1.0)


def test_the_defaults_are_the_fast_preset_and_each_preset_knows_its_name() -> None:
    assert TrainConfig() == FAST
    assert all(config.preset == name for name, config in PRESETS.items())


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError, match="unknown preset 'quick'; expected one of: fast, nvidia, thorough"):
        find_preset("quick")


def test_the_digest_is_stable_and_depends_on_every_value() -> None:
    assert FAST.digest() == TrainConfig().digest()
    assert FAST.digest() != FAST.replace({"seed": 1}).digest()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DataConfig(validation_fraction=0.7), "validation_fraction is 0.7"),
        (lambda: DataConfig(fold=6), "fold is 6; expected 0 to 5"),
        (lambda: DataConfig(shards=0), "shards is 0"),
        (lambda: DataConfig(scale=0), "scale is 0"),
        (lambda: DataConfig().replace({"scale": "2"}), "scale is 2"),
        (lambda: EvalConfig().replace({"test_time_poses": 3}), "test_time_poses is 3; expected one of 1, 8"),
        (lambda: EvalConfig(batch_size=0), "batch_size is 0"),
    ],
)
def test_every_configuration_checks_its_values(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()  # type: ignore[operator]


def test_yaml_must_be_a_mapping() -> None:
    assert load_yaml("steps: 3\nema: 0.5") == {"steps": 3, "ema": 0.5}
    assert load_yaml("") == {}
    with pytest.raises(UserError, match="expected a YAML mapping"):
        load_yaml("- 1")
    with pytest.raises(UserError, match="not YAML"):
        load_yaml("a: [")


@pytest.mark.parametrize("patch", [16, 100, -32])
def test_a_patch_is_a_multiple_of_16_and_at_least_32(patch: int) -> None:
    with pytest.raises(UserError, match="patch is"):
        TrainConfig(patch=patch)


def test_a_training_on_patches_has_no_input_size() -> None:
    assert (TrainConfig(patch=128).input_size, TrainConfig(patch=128).size_tag) == (0, "patch128")
    assert (TrainConfig(patch=0).input_size, TrainConfig(patch=0).size_tag) == (512, "512px")


def test_an_image_size_without_a_patch_selects_whole_images() -> None:
    assert FAST.patch == 128
    assert TrainConfig(image_size=64).patch == FAST.replace({"image_size": 64}).patch == 0
    assert TrainConfig(image_size=64, patch=32).patch == 32
    assert NVIDIA.patch == 0


def test_a_recorded_configuration_without_patch_is_one_of_whole_images() -> None:
    assert with_missing_options({"preset": "fast"})["patch"] == 0
    assert with_missing_options({"preset": "fast", "patch": 64})["patch"] == 64
