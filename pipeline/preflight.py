"""Find a wrong argument before anything starts, not minutes into the run."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.errors import UserError, require
from tinyunet.data.sources import check_scheme, find_local
from tinyunet.devtools import reachability
from tinyunet.tracking.uri import tracking_uri


def check(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check the arguments of a run on this machine: what they say, and what it needs here.

    Returns:
        The training's whole configuration.

    Raises:
        UserError: naming the value, what was expected and what to do.
    """
    config = configuration(arguments)
    if not check_scheme(arguments["source"]):
        for class_id in _classes(arguments):
            find_local(Path(arguments["source"]), class_id)
    _check_mpirun(arguments["workers"] * arguments["slots_per_worker"])
    _check_tracking()
    return config


def configuration(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check what a run's arguments say, wherever it will run; see `check`."""
    from tinyunet.launch.launch import LAUNCHERS, check_shares

    data = {key: arguments[key] for key in ("validation_fraction", "fold") if key in arguments}
    for class_id in _classes(arguments):
        DataConfig(**data, class_id=class_id)
    EvalConfig(test_time_poses=arguments["test_time_poses"], image_score=arguments["image_score"])
    config = training(arguments)
    check_scheme(arguments["source"])
    launcher = arguments["launcher"]
    require(launcher in LAUNCHERS, "launcher", launcher, "one of " + ", ".join(LAUNCHERS))
    check_shares(config, arguments["workers"] * arguments["slots_per_worker"])
    return config


def training(arguments: Mapping[str, Any]) -> TrainConfig:
    """Give the training configuration that the train component will make of the arguments."""
    from tinyunet.core.presets import training_config

    names = ("preset", "image_size", "steps", "precision", "seed", "overrides")
    return training_config(**{name: arguments[name] for name in names})


def _classes(arguments: Mapping[str, Any]) -> list[int]:
    return arguments.get("classes") or [arguments["class_id"]]


def _check_mpirun(ranks: int) -> None:
    if ranks > 1 and shutil.which("mpirun") is None:
        raise UserError(
            "mpirun is not installed; expected for ranks > 1 (Debian: apt-get install openmpi-bin)"
        )


def _check_tracking() -> None:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return  # a run on this machine has its own database
    tracking_uri()
    found = reachability.tracking()
    if found.status == "fail":
        raise UserError(f"{found.detail}; {found.remedy}")
