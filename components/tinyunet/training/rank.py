"""What one process of a training does: join the ranks, get the records, train, leave together."""

import hashlib
import re
import sys
from pathlib import Path

from tinyunet.runtime.distributed import init
from tinyunet.schema import require
from tinyunet.training.inputs import local_records
from tinyunet.training.launch import Launch
from tinyunet.training.stopping import Stopped


def run_rank(launch: Launch) -> int:
    """Run this process's share of a training; give the exit code, equal on every rank."""
    from tinyunet.runtime.tracking import NullTracker, Tracker
    from tinyunet.training.loop import Job, train

    world = init()
    batch = launch.config.global_batch
    require(batch % world.size == 0, "world size", world.size, f"a divisor of the global batch {batch}")
    records = local_records(launch.records, world, class_id=launch.class_id, run_key=launch.run_key)
    job = Job(records, launch.out, launch.checkpoints, launch.config, world, launch.run_key)
    try:
        train(job, Tracker() if world.is_chief else NullTracker())
    except Stopped as stopped:
        if world.is_chief:
            print(f"tinyunet: {stopped}", file=sys.stderr, flush=True)
        return stopped.exit_code
    world.shutdown()
    return 0


def default_run_key(out: str) -> str:
    """Name the run of an output place: its last part and a digest of the whole, safe in file names."""
    place = out if "://" in out else str(Path(out).resolve())
    name = re.sub(r"[^a-z0-9]+", "-", Path(out).name.lower()).strip("-") or "run"
    return f"{name[:24]}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
