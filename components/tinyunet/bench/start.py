"""Time from the start of a process to the first step of a training, by parts.

`python -m tinyunet.bench.start CONFIG RECORDS OUT` is one rank: the only one, or one of several under mpirun.
It does what `tinyunet train` does, for two steps, and the clock of rank 0 counts:

- python: the start of the interpreter and the import of the modules that need no TensorFlow;
- tensorflow, project: their imports; Keras belongs to the second one;
- join: `init`; with several ranks also the import of Horovod, and the wait for the other ranks;
- prepare: records are opened and verified, network and optimizer are built, and weights are broadcast;
- mlflow: the import of MLflow's client. The requests to a server are not included;
- first_step: the step is traced, compiled and run; second_step is the same step without the first two.

This module imports TensorFlow only where the time is measured.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyunet.bench.config import BenchConfig
from tinyunet.bench.documents import StartTimes
from tinyunet.core.tensorflow_import import import_tensorflow


def process_age() -> float:
    """Return the seconds since the kernel started this process, with a resolution of 10 ms."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def measure(config: BenchConfig, records: str, out: str) -> StartTimes | None:
    """Take two steps of a training; return the times on rank 0 and None on the others."""
    marks = {"python": process_age()}
    import_tensorflow()
    marks["tensorflow"] = process_age()
    from tinyunet.tracking.client import mlflow_errors
    from tinyunet.tracking.tracker import NullTracker
    from tinyunet.training.distributed import init
    from tinyunet.training.loop import train
    from tinyunet.training.run import TrainingRun

    class Timer(NullTracker):
        """Notes when the training calls its tracker: before the first step, and after both steps."""

        def start(self, *args: object, **kwargs: object) -> str:
            marks["prepare"] = process_age()
            with mlflow_errors():
                marks["mlflow"] = process_age()
            return ""

        def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
            if "loss" in rows[-1]:
                marks[f"{'second' if 'first_step' in marks else 'first'}_step"] = process_age()

    marks["project"] = process_age()
    world = init()
    marks["join"] = process_age()
    recipe = config.recipe().replace({"steps": 2, "validate_every": 0})
    tracker = Timer() if world.is_chief else NullTracker()
    train(TrainingRun(records=records, out=out, config=recipe, ranks=world.size), world, tracker)
    world.shutdown()
    return _differences(marks) if world.is_chief else None


def _differences(marks: Mapping[str, float]) -> StartTimes:
    """Return the duration of each part from the times at which the parts end."""
    ends = dict(sorted(marks.items(), key=lambda mark: mark[1]))
    starts = [0.0, *ends.values()]
    return StartTimes(**{name: end - start for (name, end), start in zip(ends.items(), starts, strict=False)})


if __name__ == "__main__":
    times = measure(BenchConfig().replace(json.loads(sys.argv[1])), *sys.argv[2:])
    if times:
        print(times.model_dump_json(), flush=True)
