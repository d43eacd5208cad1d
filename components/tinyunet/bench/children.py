"""What `tinyunet bench` measures in processes of their own, or around files: convert, cold start, memory."""

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tinyunet.bench.compute import predict_case, random_split, train_case
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.measure import Case, Key, Values
from tinyunet.core.config import DataConfig
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.data.tfrecord import convert
from tinyunet.model.precision import resolve_precision
from tinyunet.model.unet import build_unet

IMAGES = "synthetic://?train=24&test=16"  # 512×512 as DAGM2007's, 12 MB of records
PATIENCE_S = 15.0  # until a process that was asked to end is killed


def convert_cases(scratch: Path) -> dict[str, Case]:
    """MB/s of `convert`, from PNG files to records: bytes of the shards by wall time; files stay cached."""
    raw, records = scratch / "raw", scratch / "records"
    ingest(IMAGES, raw, class_id=DataConfig.class_id)

    def measure(seconds: float) -> Values:
        written, taken = 0, 0.0
        while not written or taken < seconds:
            start = time.perf_counter()
            manifest = convert(raw, records, DataConfig())
            taken += time.perf_counter() - start
            written += sum(s["bytes"] for split in manifest["splits"].values() for s in split["shards"])
            shutil.rmtree(records)
        return {Key("convert", "convert", "mb_per_s"): [written / 1e6 / taken]}

    return {"convert": measure}


def start_cases(config: BenchConfig, scratch: Path) -> dict[str, Case]:
    """Wall seconds of a fresh `tinyunet predict` on one image, from start to exit; files stay cached."""
    folder, photo = scratch / "model", scratch / "photo.png"
    folder.mkdir()
    precision = resolve_precision(config.recipe().precision)
    build_unet(config.image_size, precision=precision, plain=True).save(folder / "model.keras")
    Image.fromarray(random_split(config.image_size, 1).images[0]).save(photo)
    command = [sys.executable, "-m", "tinyunet", "predict", str(photo), "--model", str(folder), "--out"]

    def measure(seconds: float) -> Values:
        start = time.perf_counter()
        run([*command, str(scratch / "predictions")])
        return {Key("start", "predict one image", "seconds"): [time.perf_counter() - start]}

    return {"predict one image": measure}


def memory_cases(config: BenchConfig) -> dict[str, Case]:
    """Peak resident memory of a process that only trains, and of one that only predicts, batch 16.

    Read by the process itself from VmHWM of /proc/self/status. `ru_maxrss` would not do: a child begins
    with its parent's peak. Memory of a GPU is not in it.
    """
    return {f"memory, {what}": _memory_case(config, what) for what in ("train", "predict")}


def without_ranks(ranks: int) -> str:
    """Say why several ranks cannot be measured here; empty if they can."""
    if ranks == 1:
        return "--ranks 1 asks for one rank"
    if not shutil.which("mpirun"):
        return "mpirun is not installed (Debian: apt-get install openmpi-bin)"
    return "" if importlib.util.find_spec("horovod") else "Horovod is not installed (make setup)"


def child(module: str, config: BenchConfig, *arguments: str) -> list[str]:
    """Give the command of a measuring process."""
    return [
        sys.executable, "-m", f"tinyunet.bench.{module}", json.dumps(config.to_dict()), *arguments
    ]  # fmt: skip


def last_json(command: Sequence[str]) -> dict[str, Any]:
    """Run a program and read the JSON object in the last line that it prints."""
    return dict(json.loads(run(command).strip().splitlines()[-1]))


def run(command: Sequence[str]) -> str:
    """Run a program to its end and give its output; whatever interrupts this ends the program too.

    Raises:
        UserError: if it fails, with the last line that it said.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,  # a terminal's Ctrl-C reaches only this process, which ends the other
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate()
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        said = (errors.strip().splitlines() or ["(it said nothing)"])[-1]
        raise UserError(
            f"{' '.join(command)[:200]} ended with exit code {process.returncode}: {said[:200]}; "
            "--only GROUP,… measures without it"
        )
    return output


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_S)
    process.kill()


def _memory_case(config: BenchConfig, what: str) -> Case:
    command = child("children", config, what)
    key = Key("memory", what, "peak_mib")
    return lambda seconds: {key: [float(last_json(command)["peak_mib"])]}


def _use_memory(config: BenchConfig, what: str) -> None:
    recipe = config.recipe()
    precision = resolve_precision(recipe.precision)
    if what == "train":
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
    _use_memory(BenchConfig().replace(json.loads(sys.argv[1])), sys.argv[2])
    print(json.dumps({"peak_mib": _peak_mib()}), flush=True)
