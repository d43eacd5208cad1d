"""Check the parameters of a run before it starts, so that a wrong value does not fail minutes later."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.errors import UserError, require
from tinyunet.core.presets import training_config
from tinyunet.data.sources import check_scheme, find_local
from tinyunet.devtools import reachability
from tinyunet.tracking.uri import tracking_uri
from tinyunet.training.run import check_shares

TRAINING = ("preset", "image_size", "steps", "precision", "seed", "overrides")


def check_local_run(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check the parameters of a run on this machine, and that this machine has what the run needs.

    Returns:
        The complete training configuration.

    Raises:
        UserError: naming the value, what was expected and what to do.
    """
    config = check_parameters(arguments)
    if not check_scheme(arguments["source"]):
        for class_id in _classes(arguments):
            find_local(Path(arguments["source"]), class_id)
    _check_mpirun(arguments["workers"] * arguments["slots_per_worker"])
    _check_tracking()
    return config


def check_parameters(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check the parameters of a run on any machine; see `check_local_run`."""
    from tinyunet.launch.launch import LAUNCHERS

    data = {key: arguments[key] for key in ("validation_fraction", "fold") if key in arguments}
    for class_id in _classes(arguments):
        DataConfig(**data, class_id=class_id)
    EvalConfig(test_time_poses=arguments["test_time_poses"], image_score=arguments["image_score"])
    config = training_config(**{key: arguments[key] for key in TRAINING})
    check_scheme(arguments["source"])
    launcher = arguments["launcher"]
    require(launcher in LAUNCHERS, "launcher", launcher, "one of " + ", ".join(LAUNCHERS))
    check_shares(config, arguments["workers"] * arguments["slots_per_worker"])
    return config


def _classes(arguments: Mapping[str, Any]) -> list[int]:
    return arguments.get("classes") or [arguments["class_id"]]


def _check_mpirun(ranks: int) -> None:
    if ranks > 1 and shutil.which("mpirun") is None:
        raise UserError(
            "mpirun is not installed; expected for ranks > 1 (Debian: apt-get install openmpi-bin)"
        )


def _check_tracking() -> None:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return  # a local run without a server has its own database
    tracking_uri()
    check = reachability.tracking()
    if check.status == "fail":
        raise UserError(f"{check.detail}; {check.remedy}")
