"""The training presets, and training configurations made from them."""

from collections.abc import Mapping
from typing import Any

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError

FAST = TrainConfig()
# Four times the steps, which rotations and zooms need to pay: at 150 steps one with them may learn nothing.
THOROUGH = FAST.replace(
    {"preset": "thorough", "steps": 950, "max_rotation": 45.0, "max_zoom": 0.15, "validate_every": 190}
)
# NVIDIA DeepLearningExamples, UNet_Industrial, UNet{_AMP}_1GPU.sh: 2,500 iterations at 512×512.
NVIDIA = TrainConfig(
    preset="nvidia",
    steps=2500,
    optimizer="rmsprop_tf1",
    learning_rate=1e-4,
    schedule="staircase",
    warmup_steps=0,
    clip_norm=0.0,
    weight_decay=1e-5,
    ema=0.0,
    loss="adaptive",
    normalization="zero_centered",
    clean_fraction=0.0,
    poses="published",
    max_shift=0.0,
    photometric=0.0,
    checkpoint_every=100,
    validate_every=250,
)
PRESETS: dict[str, TrainConfig] = {"fast": FAST, "thorough": THOROUGH, "nvidia": NVIDIA}


def preset(name: str) -> TrainConfig:
    """Look up a training preset by name.

    Raises:
        UserError: if there is none of that name.
    """
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}; expected one of: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def recipe(name: str, changes: Mapping[str, Any]) -> TrainConfig:
    """Give a preset with some values changed.

    Raises:
        UserError: if there is none of that name, or for a key or value that is none, such as another preset.
    """
    if "preset" in changes:
        raise UserError(
            f"preset={changes['preset']} is no change to a preset; give it as --preset, PRESET=…, or in a "
            "pipeline as the parameter preset"
        )
    return preset(name).replace(changes)


def with_missing_options(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Give a recorded training configuration, with the preset's value of every key added since then."""
    return preset(recorded.get("preset", TrainConfig.preset)).to_dict() | dict(recorded)


def training_config(name: str, values: Mapping[str, Any]) -> TrainConfig:
    """Give a preset with some values changed; zero steps and empty strings leave the preset's value."""
    kept = {k: v for k, v in values.items() if v != "" and not (k == "steps" and str(v) == "0")}
    return recipe(name, kept)
