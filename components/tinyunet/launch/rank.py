"""What one process of a training does: join the ranks, get the records, train, leave together."""

import signal
import sys

from tinyunet.launch.launch import Launch, check_shares
from tinyunet.training.distributed import init
from tinyunet.training.inputs import local_records
from tinyunet.training.stopping import STOP_RANKS, Stopped


def run_rank(launch: Launch) -> int:
    """Run this process's share of a training; give the exit code, equal on every rank."""
    from tinyunet.tracking.tracker import NullTracker, Tracker
    from tinyunet.training.loop import train
    from tinyunet.training.run import Job

    signal.signal(STOP_RANKS, signal.default_int_handler)  # before the first step there is nothing to keep
    world = init(deterministic=launch.config.deterministic)
    check_shares(launch.config, world.size)
    made = local_records(launch.records, world, class_id=launch.class_id, run_key=launch.run_key)
    with made as records:
        job = Job(
            records, launch.out, launch.checkpoints, launch.config, world, launch.run_key, keep=launch.keep
        )
        code = 0
        try:
            train(job, Tracker() if world.is_chief else NullTracker())
        except Stopped as stopped:
            if world.is_chief:
                print(f"tinyunet: {stopped}", file=sys.stderr, flush=True)
            code = stopped.exit_code
        world.shutdown()  # all ranks have come this far: none reads its records any more
    return code
