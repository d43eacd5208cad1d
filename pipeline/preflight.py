"""Find a wrong argument before anything starts, not minutes into the run."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from tinyunet.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.errors import UserError
from tinyunet.runtime.mlflow_uri import tracking_uri
from tinyunet.runtime.transfer import redact

SCHEMES = ("synthetic://", "s3://", "https://", "http://")


def check(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check a pipeline run's arguments against the configuration and this machine.

    Returns:
        The training's whole configuration.

    Raises:
        UserError: naming the value, what was expected and what to do.
    """
    for class_id in arguments.get("classes") or [arguments["class_id"]]:
        DataConfig(source=arguments["source"], class_id=class_id)
    EvalConfig(test_time_poses=arguments["test_time_poses"], image_score=arguments["image_score"])
    config = training(arguments)
    _check_source(arguments["source"])
    _check_ranks(arguments["workers"] * arguments["slots_per_worker"], config.global_batch)
    _check_tracking(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return config


def training(arguments: Mapping[str, Any]) -> TrainConfig:
    """Give the training configuration that the train component will make of the arguments."""
    from tinyunet.schema import load_yaml
    from tinyunet.training.launch import configure

    values = {key: arguments[key] for key in ("image_size", "steps", "precision", "seed")}
    return configure(arguments["preset"], values).replace(load_yaml(arguments["overrides"]))


def _check_source(source: str) -> None:
    if source.startswith(SCHEMES):
        return
    if "://" in source:
        raise UserError(
            f"source is {redact(source)!r}; expected a folder, a .zip, or {', '.join(SCHEMES[:3])}…"
        )
    path = Path(source)
    if not path.exists():
        raise UserError(f"{source} does not exist; expected a DAGM2007 folder or .zip (give it as DATA=…)")
    if path.is_file() and path.suffix.lower() != ".zip":
        raise UserError(f"{source} is a file; expected a DAGM2007 folder or a .zip of it")


def _check_ranks(ranks: int, global_batch: int) -> None:
    if ranks < 1 or global_batch % ranks:
        raise UserError(f"ranks is {ranks}; expected a divisor of the global batch {global_batch}")
    if ranks > 1 and shutil.which("mpirun") is None:
        raise UserError(
            "mpirun is not installed; expected for ranks > 1 (Debian: apt-get install openmpi-bin)"
        )


def _check_tracking(uri: str) -> None:
    if uri:
        tracking_uri()
    if not uri.startswith(("http://", "https://")):
        return
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=10).raise_for_status()
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = f"HTTP {status}" if status else type(error).__name__
        raise UserError(
            f"MLFLOW_TRACKING_URI is {redact(uri)}, which does not answer ({reason}); start the server "
            "or unset it"
        ) from error
