"""Time from the start of a process to the first step of a training, by parts.

`python -m tinyunet.bench.start CONFIG RECORDS OUT` is one rank: the only one, or one of several under mpirun.
It does what `tinyunet train` does, for two steps, and the clock of rank 0 counts. RECORDS may be on S3.

- python: the start of the interpreter and the import of the modules that need no TensorFlow;
- tensorflow, project: their imports; Keras belongs to the second one;
- join: `init`; with several ranks also the import of Horovod, and the wait for the other ranks;
- mlflow: the import of MLflow's client. The requests to a server are not included;
- prepare: network and optimizer are built, the step is traced, and weights are broadcast;
- records: the wait for the training images, if they come from S3; they are opened and, if local, verified;
- first_step: the step is compiled and run; second_step is the same step without compilation.

This module imports TensorFlow only where the time is measured.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.bench.config import BenchConfig
from tinyunet.bench.documents import StartTimes
from tinyunet.core.tensorflow_import import import_tensorflow
from tinyunet.training.download import early_preparation
from tinyunet.training.run import TrainingRun
from tinyunet.training.verification import Preparation

if TYPE_CHECKING:
    from tinyunet.data.dataset import Split


def process_age() -> float:
    """Return the seconds since the kernel started this process, with a resolution of 10 ms."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def measure(config: BenchConfig, records: str, out: str) -> StartTimes | None:
    """Take two steps of a training; return the times on rank 0 and None on the others."""
    recipe = config.recipe().replace({"steps": 2, "validate_every": 0})
    run = TrainingRun(records=records, out=out, config=recipe)
    marks = {"python": process_age()}
    with early_preparation(run) as preparation:
        import_tensorflow()
        marks["tensorflow"] = process_age()
        return _measure_rank(run, preparation, marks)


def _measure_rank(
    run: TrainingRun, preparation: Preparation | None, marks: dict[str, float]
) -> StartTimes | None:
    """Do what `launch.rank.run_rank` does; `marks` holds the ends of the parts so far."""
    from tinyunet.tracking.client import silence_mlflow
    from tinyunet.tracking.tracker import NullTracker
    from tinyunet.training.distributed import init
    from tinyunet.training.inputs import local_records
    from tinyunet.training.loop import train

    class Timer(NullTracker):
        """Notes when the training calls its tracker: before the first step, and after both steps."""

        def start(self, *args: object, **kwargs: object) -> str:
            marks["records"] = process_age()
            return ""

        def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
            if "loss" in rows[-1]:
                marks[f"{'second' if 'first_step' in marks else 'first'}_step"] = process_age()

    marks["project"] = process_age()
    world = init()
    marks["join"] = process_age()
    if world.is_chief:
        silence_mlflow()
    marks["mlflow"] = process_age()
    with local_records(run, world, preparation) as records:
        open_split = records.split

        def split(name: str, image_size: int) -> "Split":
            marks.setdefault("prepare", process_age())
            return open_split(name, image_size)

        records.split = split  # type: ignore[method-assign]
        train(run, world, Timer() if world.is_chief else NullTracker(), records)
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
