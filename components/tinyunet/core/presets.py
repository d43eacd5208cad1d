"""The training presets, and training configurations made from them."""

from collections.abc import Mapping
from typing import Any

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError

# The expected results were measured on a re-split of class 1 of DAGM2007, on 2 CPU cores with bfloat16.
# The scores of `fast` and `thorough` are those of whole images of 512×512 pixels; the time is the training.
#
# Expected: Dice of defective images 0.825 ± 0.007 (three seeds), image AP 1.00, 163 to 167 s.
#   tinyunet train records --preset fast
FAST = TrainConfig()
# Expected: Dice of defective images 0.860 ± 0.006 (three seeds), image AP 1.00, 470 to 488 s.
#   tinyunet train records --preset thorough
THOROUGH = FAST.replace({"preset": "thorough", "steps": 1200, "validate_every": 300})
# Expected: Dice 0.735, image AP 0.995 at 128×128, 890 s (one seed).
#   tinyunet train records --image-size 128 --preset nvidia
# Source: NVIDIA DeepLearningExamples, UNet_Industrial, UNet{_AMP}_1GPU.sh: 2,500 iterations at 512×512.
NVIDIA = TrainConfig(
    preset="nvidia",
    patch=0,
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


def find_preset(name: str) -> TrainConfig:
    """Return the training preset of this name.

    Raises:
        UserError: if there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}; expected one of: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def modify_preset(name: str, changes: Mapping[str, Any]) -> TrainConfig:
    """Return a preset with some values changed; see `TrainConfig.replace`.

    Raises:
        UserError: for an unknown preset, an unknown key, an invalid value, or the key `preset`.
    """
    if "preset" in changes:
        raise UserError(
            f"preset={changes['preset']} is no change to a preset; give it as --preset, PRESET=…, or in a "
            "pipeline as the parameter preset"
        )
    return find_preset(name).replace(changes)


def training_config(
    preset: str, *, image_size: int, patch: int, steps: int, precision: str, seed: int, overrides: str
) -> TrainConfig:
    """Return the training configuration that the parameters of a pipeline describe.

    Args:
        preset: Name of the preset.
        image_size: Side to which whole images are resized, in pixels; 0 selects what the preset does.
        patch: Side of the patches at native resolution, in pixels; 0 selects what the preset does.
        steps: Number of optimizer steps; 0 selects the preset's number.
        precision: Keras dtype policy or `auto`; an empty string selects the preset's precision.
        seed: Seed of the initial weights, of the order of the images and of the augmentation.
        overrides: YAML mapping of other options; they take precedence over the parameters above.

    Raises:
        UserError: for an unknown preset or key, an invalid value, or text that is not a mapping.
    """
    if image_size and patch:
        raise UserError(
            f"image_size is {image_size} and patch is {patch}; give one of them: either whole images are "
            "resized, or patches of the images as they are"
        )
    values: dict[str, Any] = {"steps": steps, "precision": precision, "seed": seed}
    values |= {"image_size": image_size} if image_size else {}
    values |= {"patch": patch} if patch else {}
    others = load_yaml(overrides)
    if "image_size" in others and "patch" not in others:
        values.pop("patch", None)
    values |= others
    changes = {k: v for k, v in values.items() if v != "" and not (k == "steps" and str(v) == "0")}
    return modify_preset(preset, changes)


def with_missing_options(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded training configuration; options that it does not contain have the preset's values.

    A configuration without `patch` is older than this option, and its training used whole images.
    """
    return find_preset(recorded.get("preset", FAST.preset)).to_dict() | {"patch": 0} | dict(recorded)


def load_yaml(text: str) -> dict[str, Any]:
    """Read a flat YAML mapping, the form in which KFP passes structured parameters.

    Raises:
        UserError: if the text is not a mapping.
    """
    import yaml

    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {' '.join(str(error).split())}; expected key: value") from error
    if not isinstance(value, dict):
        raise UserError(f"expected a YAML mapping (key: value), got {text.strip()[:80]!r}")
    return value
