"""The check of all parameters of a pipeline run, before its first step."""

from collections.abc import Mapping
from typing import Any

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.errors import require
from tinyunet.core.presets import training_config
from tinyunet.data.sources.source import check_scheme
from tinyunet.tracking.names import check_model_name
from tinyunet.training.run import check_shares

TRAINING = ("preset", "image_size", "steps", "precision", "seed", "overrides")


def check_parameters(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check all properties of a run's parameters that do not depend on the machine.

    Args:
        arguments: The parameters of the pipeline for one class or for several classes.

    Returns:
        The complete training configuration.

    Raises:
        UserError: if a value is invalid; the message names the value, what was expected and what to do.
    """
    from tinyunet.launch.launch import LAUNCHERS

    data = {key: arguments[key] for key in ("validation_fraction", "fold") if key in arguments}
    for class_id in class_ids(arguments):
        DataConfig(**data, class_id=class_id)
    EvalConfig(test_time_poses=arguments["test_time_poses"], image_score=arguments["image_score"])
    config = training_config(**{key: arguments[key] for key in TRAINING})
    check_scheme(arguments["source"])
    check_model_name(arguments.get("model_name", ""))
    launcher = arguments["launcher"]
    require(launcher in LAUNCHERS, "launcher", launcher, "one of " + ", ".join(LAUNCHERS))
    check_shares(config, arguments["workers"] * arguments["slots_per_worker"])
    return config


def class_ids(arguments: Mapping[str, Any]) -> list[int]:
    """Return the classes of a run."""
    return arguments.get("classes") or [arguments["class_id"]]
