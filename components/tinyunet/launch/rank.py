"""One process of a training: it joins the other ranks, prepares the records, trains, and ends with them."""

import signal
import sys

from tinyunet.core.stopping import STOP_SIGNAL
from tinyunet.training.distributed import init
from tinyunet.training.inputs import local_records
from tinyunet.training.run import TrainingRun, check_shares
from tinyunet.training.stopping import Stopped
from tinyunet.training.verification import Preparation


def run_rank(run: TrainingRun, preparation: Preparation | None = None) -> int:
    """Execute this process's part of a training; return the exit code, which is equal on all ranks.

    Args:
        run: The training.
        preparation: What prepares its records, if this process has begun it (`early_preparation`).
    """
    from tinyunet.tracking.client import silence_mlflow
    from tinyunet.tracking.tracker import NullTracker, Tracker
    from tinyunet.training.compile_cache import use_compile_cache
    from tinyunet.training.loop import train

    signal.signal(STOP_SIGNAL, signal.default_int_handler)  # before the first step there is no state to save
    use_compile_cache(run.config)  # before the devices are listed
    world = init(deterministic=run.config.deterministic)
    check_shares(run.config, world.size)
    if world.is_chief:
        silence_mlflow()  # imports the client now, while the records are on their way
    with local_records(run, world, preparation) as records:
        exit_code = 0
        try:
            train(run, world, Tracker() if world.is_chief else NullTracker(), records)
        except Stopped as stopped:
            if world.is_chief:
                print(f"tinyunet: {stopped}", file=sys.stderr, flush=True)
            exit_code = stopped.exit_code
        world.shutdown()  # after this no rank reads the records
    return exit_code
