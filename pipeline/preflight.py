"""Check the parameters of a run before it starts, so that a wrong value does not fail minutes later."""

import os
import shutil
from collections.abc import Mapping
from typing import Any

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import check_local
from tinyunet.data.sources.source import check_scheme, check_source
from tinyunet.devtools import reachability
from tinyunet.launch.parameters import categories, check_parameters, ingest_options
from tinyunet.tracking.uri import tracking_uri


def check_local_run(arguments: Mapping[str, Any]) -> TrainConfig:
    """Check the parameters of a run on this machine, and that this machine has what the run needs.

    Returns:
        The complete training configuration.

    Raises:
        UserError: naming the value, what was expected and what to do.
    """
    config = check_parameters(arguments)
    check_source(arguments["source"])
    if not check_scheme(arguments["source"]):
        for category in categories(arguments):
            check_local(arguments["source"], ingest_options(category, arguments["ingest_options"]))
    _check_mpirun(arguments["workers"] * arguments["slots_per_worker"])
    _check_tracking()
    return config


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
