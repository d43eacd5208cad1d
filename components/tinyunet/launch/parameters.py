"""The check of all parameters of a pipeline run, before its first step."""

from collections.abc import Mapping
from typing import Any

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.errors import UserError, require
from tinyunet.core.presets import load_yaml, training_config
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.data.layouts.dagm import require_class
from tinyunet.data.sources.source import check_scheme
from tinyunet.tracking.names import check_model_name
from tinyunet.training.run import check_shares

CONVERSION = ("validation_fraction", "fold", "scale")
EVALUATION = ("test_time_poses", "image_score", "target", "cost")
TRAINING = ("preset", "image_size", "patch", "steps", "precision", "seed", "overrides")


def check_parameters(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check all properties of a run's parameters that do not depend on the machine.

    Args:
        arguments: The parameters of the pipeline for one category or for several ones.

    Returns:
        The complete training configuration.

    Raises:
        UserError: if a value is invalid; the message names the value, what was expected and what to do.
    """
    from tinyunet.launch.launch import LAUNCHERS

    data = DataConfig(**{key: arguments[key] for key in CONVERSION if key in arguments})
    EvalConfig(**{key: arguments[key] for key in EVALUATION})
    config = training_config(**{key: arguments[key] for key in TRAINING})
    require(data.scale == 1 or config.patch > 0, "scale", data.scale, "1, or a training on patches")
    generated = check_scheme(arguments["source"]) == "synthetic"
    for category in categories(arguments):
        ingest_options(category, arguments["ingest_options"])
        if generated and category:
            require_class(category)
    check_model_name(arguments.get("model_name", ""))
    launcher = arguments["launcher"]
    require(launcher in LAUNCHERS, "launcher", launcher, "one of " + ", ".join(LAUNCHERS))
    check_shares(config, arguments["workers"] * arguments["slots_per_worker"])
    return config


def categories(arguments: Mapping[str, Any]) -> list[str]:
    """Return the categories of a run; one without a category has the empty one."""
    return arguments.get("categories") or [arguments["category"]]


def ingest_options(category: str, settings: str) -> IngestOptions:
    """Return the options of `ingest` that the parameters of a pipeline describe.

    Args:
        category: Category of the data set; empty for the only one.
        settings: YAML mapping of other options, such as `layout: pairs`.

    Raises:
        UserError: for an unknown option or an invalid value.
    """
    values = load_yaml(settings)
    known = IngestOptions.__dataclass_fields__.keys() - {"category"}
    for key in values:
        if key not in known:
            raise UserError(f"unknown option {key!r} of ingest; known options: {', '.join(sorted(known))}")
    if "allow_partial" in values:
        partial = str(values["allow_partial"]).lower()
        require(partial in ("true", "false"), "allow_partial", values["allow_partial"], "true or false")
        values["allow_partial"] = partial == "true"
    changes: dict[str, Any] = {
        key: value if key == "allow_partial" else str(value) for key, value in values.items()
    }
    options = IngestOptions(category=category, **changes)
    options.check()
    return options
