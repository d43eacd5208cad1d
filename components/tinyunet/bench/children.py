"""Measurements of `tinyunet bench` that work with files or need a process of their own.

These are the conversion to records, the start of `tinyunet predict`, and the peak memory.
`python -m tinyunet.bench.children CONFIG (train|predict)` runs one training step or prediction and prints
the peak memory of its process.
"""

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from tinyunet.bench.compute import predict_case, random_split, train_case
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.documents import PeakMemory, StartTimes
from tinyunet.bench.measure import Case, Key, Values
from tinyunet.core.config import DataConfig
from tinyunet.core.documents.base import JsonObject
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.data.tfrecord import convert
from tinyunet.launch.local_ranks import mpirun, mpirun_fault, rank_environment
from tinyunet.model.precision import resolve_precision
from tinyunet.model.unet import build_unet

IMAGES = "synthetic://?train=24&test=16"  # 512×512 as in DAGM2007; the records take 12 MB
TERMINATE_TIMEOUT_S = 15.0  # between SIGTERM and SIGKILL
P = TypeVar("P", bound=JsonObject)


def convert_cases(scratch: Path) -> dict[str, Case]:
    """Return the measurement of `convert` in MB/s.

    The rate is the size of the record files divided by the wall time. The PNG files that `convert` reads stay
    in the page cache.
    """
    raw, records = scratch / "raw", scratch / "records"
    ingest(IMAGES, raw, category="class1")

    def measure(seconds: float) -> Values:
        written, duration = 0, 0.0
        while not written or duration < seconds:
            start = time.perf_counter()
            manifest = convert(raw, records, DataConfig())
            duration += time.perf_counter() - start
            written += sum(shard.bytes for split in manifest.splits.values() for shard in split.shards)
            shutil.rmtree(records)
        return {Key("convert", "convert", "mb_per_s"): [written / 1e6 / duration]}

    return {"convert": measure}


def start_cases(config: BenchConfig, scratch: Path) -> dict[str, Case]:
    """Return the measurements of new processes, in wall seconds; their files stay in the page cache.

    `tinyunet predict` on one image is measured to the exit of the process, a training to its first step.
    """
    folder, image = scratch / "model", scratch / "photo.png"
    folder.mkdir()
    precision = resolve_precision(config.recipe().precision)
    build_unet(config.image_size, precision=precision, plain=True).save(folder / "model.keras")
    Image.fromarray(random_split(config.image_size, 1).images[0]).save(image)
    command = [sys.executable, "-m", "tinyunet", "predict", str(image), "--model", str(folder), "--out"]

    def measure(seconds: float) -> Values:
        start = time.perf_counter()
        run_program([*command, str(scratch / "predictions")])
        return {Key("start", "predict one image", "seconds"): [time.perf_counter() - start]}

    return {"predict one image": measure} | _first_step_cases(config, scratch)


def _first_step_cases(config: BenchConfig, scratch: Path) -> dict[str, Case]:
    raw, records = scratch / "start-raw", scratch / "start-records"
    ingest(f"{IMAGES}&size={config.image_size}", raw, category="class1")
    convert(raw, records, DataConfig())

    def case(name: str, launcher: Sequence[str]) -> Case:
        def measure(seconds: float) -> Values:
            out = Path(tempfile.mkdtemp(dir=scratch)) / "model"
            command = [*launcher, *child_command("start", config, str(records), str(out))]
            times = read_document(command, StartTimes)
            parts = {part: [value] for part, value in times}
            return {
                Key("start", name, f"{part}_s"): value
                for part, value in {"to_first_step": [times.to_first_step], **parts}.items()
            }

        return measure

    cases = {"train, 1 rank": case("train, 1 rank", [])}
    if not ranks_unavailable_reason(config.ranks):
        name = f"train, {config.ranks} ranks"
        cases[name] = case(name, mpirun(config.ranks))
    return cases


def memory_cases(config: BenchConfig) -> dict[str, Case]:
    """Return the measurements of peak resident memory of a training and of a prediction, batch 16.

    The process reads its own peak from VmHWM in /proc/self/status. `ru_maxrss` is not usable, because a
    child process starts with the peak of its parent. GPU memory is not included.
    """
    return {f"memory, {task}": _memory_case(config, task) for task in ("train", "predict")}


def ranks_unavailable_reason(ranks: int) -> str:
    """Return why several ranks cannot be measured on this machine; empty if they can."""
    if ranks == 1:
        return "--ranks 1 asks for one rank"
    if not shutil.which("mpirun"):
        return "mpirun is not installed (Debian: apt-get install openmpi-bin)"
    return "" if importlib.util.find_spec("horovod") else "Horovod is not installed (make setup)"


def child_command(module: str, config: BenchConfig, *arguments: str) -> list[str]:
    """Return the command of a measuring process."""
    return [
        sys.executable, "-m", f"tinyunet.bench.{module}", json.dumps(config.to_dict()), *arguments
    ]  # fmt: skip


def read_document(command: Sequence[str], kind: type[P]) -> P:
    """Run a program and read the document in the last line that it prints."""
    return kind.model_validate_json(run_program(command).strip().splitlines()[-1])


def run_program(command: Sequence[str]) -> str:
    """Run a program to its end and return its standard output.

    The program is terminated if an exception, such as KeyboardInterrupt, interrupts the wait.

    Raises:
        UserError: if the program fails; the message holds the last line of its standard error.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C of a terminal reaches only this process, which then ends the program
        env=rank_environment(),
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate()
        except BaseException:
            _terminate(process)
            raise
    if process.returncode:
        last_line = mpirun_fault(command) or (errors.strip().splitlines() or ["(it printed no error)"])[-1]
        raise UserError(
            f"{' '.join(command)[:200]} ended with exit code {process.returncode}: {last_line[:200]}; "
            "--only GROUP,… measures without it"
        )
    return output


def _terminate(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TERMINATE_TIMEOUT_S)
    process.kill()


def _memory_case(config: BenchConfig, task: str) -> Case:
    command = child_command("children", config, task)
    key = Key("memory", task, "peak_mib")
    return lambda seconds: {key: [read_document(command, PeakMemory).peak_mib]}


def _run_task(config: BenchConfig, task: str) -> None:
    recipe = config.recipe()
    precision = resolve_precision(recipe.precision)
    if task == "train":
        case = train_case(recipe, precision)
    else:
        case = predict_case(
            build_unet(recipe.image_size, precision=precision), precision, recipe.global_batch
        )
    case(0.0)


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    _run_task(BenchConfig().replace(json.loads(sys.argv[1])), sys.argv[2])
    print(PeakMemory(peak_mib=_peak_mib()).model_dump_json(), flush=True)
