"""The command-line options of a local run, and the pipeline parameters that they stand for."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from tinyunet.cli.options import Parser, parse_settings
from tinyunet.core.categories import class_category
from tinyunet.core.config import DataConfig, EvalConfig
from tinyunet.core.errors import UserError, require
from tinyunet.core.presets import FAST
from tinyunet.data.ingest import find_all_categories
from tinyunet.data.sources.joined import absolute
from tinyunet.launch.parameters import ingest_options


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """The options of a local run; a field has the name of its pipeline parameter where there is one.

    Attributes:
        source: Folder, archive, s3://, https:// or synthetic://.
        categories: A category, several as `bottle,cable` or `1,3,5`, or `all`; empty for the only one.
        preset: Name of the training preset.
        image_size: Side to which whole images are resized, in pixels; 0 selects what the preset does.
        patch: Side of the patches at native resolution; 0 selects what the preset does.
        steps: Optimizer steps; 0 is the preset's number.
        precision: Keras dtype policy or `auto`.
        seed: Of weights, order and augmentation.
        scale: Factor of the sides of every stored image.
        workers: Number of Horovod ranks.
        test_time_poses: 1, or 8: average over all dihedral poses.
        image_score: Name of the score of an image.
        target: Rate that the image threshold must reach on validation, such as `tnr=0.999`; empty for none.
        cost: Costs that the image threshold minimizes on validation, such as `miss=10,stop=1`.
        model_name: Registered model; empty is one model per category.
        settings: Other training options, as KEY=VALUE.
        ingest_settings: Other options of `ingest`, as KEY=VALUE.
    """

    source: str = "synthetic://"
    categories: str = ""
    preset: str = FAST.preset
    image_size: int = 0
    patch: int = 0
    steps: int = 0
    precision: str = FAST.precision
    seed: int = FAST.seed
    scale: float = DataConfig().scale
    workers: int = 1
    test_time_poses: int = EvalConfig().test_time_poses
    image_score: str = EvalConfig().image_score
    target: str = ""
    cost: str = ""
    model_name: str = ""
    settings: Sequence[str] = ()
    ingest_settings: Sequence[str] = ()


def parse(argv: Sequence[str] | None, description: str | None = None) -> LocalOptions:
    """Read the command line."""
    parser = Parser(prog="tinyunet", description=description, argument_default=argparse.SUPPRESS)
    parser.hint = "make lists what make run takes"
    add = parser.add_argument
    add("--source", help="folder, archive, s3://, https:// or synthetic://")
    add("--category", dest="categories", help="one, several as 1,3,5 or bottle,cable, or all")
    add("--class-id", help="the same for the classes of DAGM2007")
    add("--preset", help="fast, thorough or nvidia")
    add("--image-size", type=int, help="resize whole images to this side in pixels, a multiple of 16")
    add("--patch", type=int, help="side of the patches at native resolution, a multiple of 16")
    add("--steps", type=int, help="optimizer steps; 0 is the preset's number")
    add("--precision", help="auto, float32, mixed_float16 or mixed_bfloat16")
    add("--seed", type=int, help="of weights, order and augmentation")
    add("--scale", type=float, help="factor of the sides of every stored image, above 0 and at most 1")
    add("--ranks", dest="workers", type=int, help="number of Horovod ranks (mpirun)")
    add("--test-time-poses", type=int, help="1, or 8: average over all poses")
    add("--image-score", help="auto, max, top100 or smoothed")
    add("--target", help="rate that the image threshold must reach on validation, such as tnr=0.999")
    add("--cost", help="costs of a missed and of a wrongly stopped part, such as miss=10,stop=1")
    add("--model-name", help="registered model (default: one per category)")
    add("--set", dest="settings", action="append", metavar="KEY=VALUE", help="another training option")
    add(
        "--ingest", dest="ingest_settings", action="append", metavar="KEY=VALUE",
        help="option of ingest: layout, images, masks, name, channels, split, unmasked, allow_partial",
    )  # fmt: skip
    values = vars(parser.parse_args(argv))
    class_id = values.pop("class_id", "")
    if class_id and values.setdefault("categories", class_id) != class_id:
        raise UserError(f"category is {values['categories']!r} and class is {class_id!r}; give one of them")
    return LocalOptions(**values)


def pipeline_arguments(options: LocalOptions) -> dict[str, Any]:
    """Return the parameters of the pipeline for one category or, with `categories`, of that for several ones.

    A local source becomes an absolute path, the settings become YAML mappings.

    Raises:
        UserError: for an empty source, a negative number of steps, wrong categories or wrong settings.
    """
    require(bool(options.source), "source", options.source, "a folder, an archive or a URL (DATA=…)")
    require(options.steps >= 0, "steps", options.steps, "at least 1, or 0 for the preset's own number")
    arguments = asdict(options)
    settings, ingest_settings = (_yaml(arguments.pop(key)) for key in ("settings", "ingest_settings"))
    categories = _parse_categories(options, ingest_settings)
    del arguments["categories"]
    if len(categories) == 1:
        arguments["category"] = categories[0]
    elif arguments.pop("model_name"):
        raise UserError(
            "--model-name is for one category; several have a registered model each: leave it out"
        )
    else:
        arguments["categories"] = categories
    arguments["source"] = absolute(options.source)
    mappings = {"overrides": settings, "ingest_options": ingest_settings}
    return arguments | mappings | {"slots_per_worker": 1, "launcher": "local"}


def _yaml(settings: Sequence[str]) -> str:
    """Return settings KEY=VALUE as a YAML mapping; empty without settings."""
    unquoted = {key: value.strip("\"'") for key, value in parse_settings(settings).items()}  # as YAML would
    return yaml.safe_dump(unquoted) if unquoted else ""


def _parse_categories(options: LocalOptions, ingest_settings: str) -> list[str]:
    text = options.categories
    if text == "all":
        return list(find_all_categories(options.source, ingest_options("", ingest_settings)))
    categories = [part.strip() for part in text.split(",")]
    if len(categories) > 1 and not all(categories):
        raise UserError(f"category is {text!r}; expected names between commas, such as 1,3,5 or bottle,cable")
    if len({class_category(category) for category in categories}) < len(categories):
        raise UserError(f"category is {text!r}; expected every category once: leave out the second one")
    return categories
