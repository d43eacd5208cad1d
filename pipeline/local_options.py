"""The command-line options of a local run, and the pipeline parameters that they stand for."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tinyunet.cli.options import Parser, parse_settings
from tinyunet.core.config import DataConfig, EvalConfig
from tinyunet.core.errors import UserError, require
from tinyunet.core.presets import FAST
from tinyunet.data.layouts.dagm import CLASSES


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """The options of a local run; a field has the name of its pipeline parameter where there is one.

    Attributes:
        source: Folder, .zip, s3://, https:// or synthetic://.
        classes: `1` to `10`, several as `1,3,5`, or `all`.
        preset: Name of the training preset.
        image_size: Side in pixels.
        steps: Optimizer steps; 0 is the preset's number.
        precision: Keras dtype policy or `auto`.
        seed: Of weights, order and augmentation.
        workers: Number of Horovod ranks.
        test_time_poses: 1, or 8: average over all dihedral poses.
        image_score: Name of the score of an image.
        model_name: Registered model; empty is one model per class.
        settings: Other training options, as KEY=VALUE.
    """

    source: str = "synthetic://"
    classes: str = str(DataConfig().class_id)
    preset: str = FAST.preset
    image_size: int = FAST.image_size
    steps: int = 0
    precision: str = FAST.precision
    seed: int = FAST.seed
    workers: int = 1
    test_time_poses: int = EvalConfig().test_time_poses
    image_score: str = EvalConfig().image_score
    model_name: str = ""
    settings: Sequence[str] = ()


def parse(argv: Sequence[str] | None, description: str | None = None) -> LocalOptions:
    """Read the command line."""
    parser = Parser(prog="tinyunet", description=description, argument_default=argparse.SUPPRESS)
    parser.hint = "make lists what make run takes"
    add = parser.add_argument
    add("--source", help="folder, .zip, s3://, https:// or synthetic://")
    add("--class-id", dest="classes", help="1 to 10, several as 1,3,5, or all")
    add("--preset", help="fast, thorough or nvidia")
    add("--image-size", type=int, help="side in pixels, a multiple of 16")
    add("--steps", type=int, help="optimizer steps; 0 is the preset's number")
    add("--precision", help="auto, float32, mixed_float16 or mixed_bfloat16")
    add("--seed", type=int, help="of weights, order and augmentation")
    add("--ranks", dest="workers", type=int, help="number of Horovod ranks (mpirun)")
    add("--test-time-poses", type=int, help="1, or 8: average over all poses")
    add("--image-score", help="max, top100 or smoothed")
    add("--model-name", help="registered model (default: one per class)")
    add("--set", dest="settings", action="append", metavar="KEY=VALUE", help="another training option")
    return LocalOptions(**vars(parser.parse_args(argv)))


def pipeline_arguments(options: LocalOptions) -> dict[str, Any]:
    """Return the parameters of the pipeline for one class or, with `classes`, of that for several classes.

    A local source becomes an absolute path, the settings become one YAML mapping.

    Raises:
        UserError: for an empty source, a negative number of steps, wrong classes or wrong settings.
    """
    require(bool(options.source), "source", options.source, "a folder, a .zip or a URL (DATA=…)")
    require(options.steps >= 0, "steps", options.steps, "at least 1, or 0 for the preset's own number")
    arguments = asdict(options)
    classes = _parse_classes(arguments.pop("classes"))
    settings = parse_settings(arguments.pop("settings"))
    if len(classes) == 1:
        arguments["class_id"] = classes[0]
    elif arguments.pop("model_name"):
        raise UserError("--model-name is for one class; several have a registered model each: leave it out")
    else:
        arguments["classes"] = classes
    if "://" not in options.source:
        arguments["source"] = str(Path(options.source).absolute())
    unquoted = {key: value.strip("\"'") for key, value in settings.items()}  # as a YAML reader would
    overrides = yaml.safe_dump(unquoted) if unquoted else ""
    return arguments | {"overrides": overrides, "slots_per_worker": 1, "launcher": "local"}


def _parse_classes(text: str) -> list[int]:
    try:
        classes = list(CLASSES) if text == "all" else [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"class is {text!r}; expected 1 to 10, several as 1,3,5, or all") from None
    if len(set(classes)) < len(classes):
        raise UserError(f"class is {text!r}; expected every class once: leave out the second one")
    return classes
