"""The subcommands for developers and operators: bench, doctor, services, mpijob, scaling, ablation."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.bench.config import GROUPS, BenchConfig
from tinyunet.cli.options import add_command, filled, path
from tinyunet.cli.training import print_failure
from tinyunet.core.categories import class_category
from tinyunet.core.errors import UserError, require
from tinyunet.core.presets import FAST
from tinyunet.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands


def add_commands(commands: "Commands") -> None:
    """Add the subcommands of this module."""
    for add in (_add_bench, _add_doctor, _add_services, _add_mpijob, _add_scaling, _add_gpu, _add_ablation):
        add(commands)


def _add_bench(commands: "Commands") -> None:
    parser = add_command(commands, "bench", "measure every part of the project on this machine", _bench)
    add = parser.add_argument
    add("--image-size", type=int, default=BenchConfig().image_size)
    add("--rounds", type=int, default=BenchConfig().rounds, help="interleaved; medians are reported")
    add("--seconds", type=float, default=BenchConfig().seconds, help="shortest time of one measurement")
    add("--ranks", type=int, default=BenchConfig().ranks, help="compared with one rank; 1: no comparison")
    add("--only", default="", metavar="GROUP,…", help=f"some of: {', '.join(GROUPS)}")
    add("--out", type=path, default=Path("runs/bench.json"), help="JSON file of the figures")


def _bench(arguments: Namespace) -> None:
    names = ("image_size", "rounds", "seconds", "ranks", "only")
    config = BenchConfig(**{name: getattr(arguments, name) for name in names})
    import_tensorflow()
    from tinyunet.bench.bench import bench

    bench(config, arguments.out)


def _add_doctor(commands: "Commands") -> None:
    add_command(commands, "doctor", "report what is missing, unreachable or misconfigured", _doctor)


def _doctor(arguments: Namespace) -> int:
    from tinyunet.devtools.doctor import run

    checks = run()
    for check in checks:
        print(f"{check.status:4}  {check.name}: {check.detail}")
        if check.remedy:
            print(f"      -> {check.remedy}")
    return int(any(check.status == "fail" for check in checks))


def _add_services(commands: "Commands") -> None:
    parser = add_command(commands, "services", "start or stop MinIO and MLflow on this machine", _services)
    parser.add_argument("verb", choices=("start", "stop"))


def _services(arguments: Namespace) -> None:
    (_start_services if arguments.verb == "start" else _stop_services)()


def _start_services() -> None:
    from tinyunet.devtools.services import FOLDER, start

    print("starting MinIO and MLflow (about half a minute)", file=sys.stderr)
    env = start(
        mlflow_port=_port("TINYUNET_MLFLOW_PORT", 5000), minio_port=_port("TINYUNET_MINIO_PORT", 9000)
    )
    print(*(f"{name}={env[name]}" for name in ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL")), sep="\n")
    print(f"for this shell, with the credentials:  . {FOLDER}/env")


def _stop_services() -> None:
    from tinyunet.devtools.services import stop

    print("stopped: " + (", ".join(stop()) or "nothing ran"))


def _port(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise UserError(f"{name} is {value!r}; expected a port, 1 to 65535")
    return int(value)


def _add_mpijob(commands: "Commands") -> None:
    parser = add_command(commands, "mpijob", "print k8s/mpijob.yaml or k8s/mpijob-gpu.yaml", _mpijob)
    parser.add_argument("--gpu", action="store_true", help="the job for GPUs, k8s/mpijob-gpu.yaml")
    parser.add_argument("--registry", default="", help="registry of the image (default: none)")
    parser.add_argument("--tag", default="", help="tag of the image (default: the version of this package)")
    parser.add_argument(
        "--compile-cache", default="", metavar="CLAIM",
        help="PersistentVolumeClaim in which XLA keeps compiled steps; needs --gpu",
    )  # fmt: skip


def _mpijob(arguments: Namespace) -> None:
    from tinyunet.mpijob.example import manifest

    options = {"gpu": arguments.gpu, "compile_cache": arguments.compile_cache}
    sys.stdout.write(manifest(arguments.registry, arguments.tag, **options))


def _add_scaling(commands: "Commands") -> None:
    parser = add_command(commands, "scaling", "print a model of weak scaling to many GPUs", _scaling)
    parser.add_argument("--step-ms", type=float, help="your step of 16 images, instead of the known ones")
    parser.add_argument("--start-s", type=float, default=30.0, help="seconds before the first step")


def _scaling(arguments: Namespace) -> None:
    step_ms, start_s = arguments.step_ms, arguments.start_s
    require(step_ms is None or step_ms > 0, "step-ms", step_ms, "milliseconds, more than 0")
    require(start_s >= 0, "start-s", start_s, "seconds, at least 0")
    import_tensorflow()
    from tinyunet.bench.scaling import table

    print("\n\n".join(table({"your step": step_ms / 1000} if step_ms else None, start_s=start_s)))


def _add_gpu(commands: "Commands") -> None:
    parser = add_command(commands, "gpu", "check and measure the GPUs of this machine", _gpu)
    parser.add_argument("--out", type=path, default=Path("runs/gpu.json"), help="JSON file of the figures")


def _gpu(arguments: Namespace) -> None:
    import_tensorflow()
    import tensorflow as tf

    from tinyunet.bench.gpu import check, plan

    check(plan(len(tf.config.list_physical_devices("GPU"))), arguments.out)


def _add_ablation(commands: "Commands") -> None:
    parser = add_command(
        commands, "ablation", "measure the effect of each choice of the fast preset", _ablation
    )
    add = parser.add_argument
    add("source", type=filled, help="a source of images, as for ingest")
    add("--category", "--class-id", default="", help="category of the data set")
    add("--out", type=path, help="default: runs/ablation-<CATEGORY>-<SIZE>px-<STEPS>steps")
    add("--image-size", type=int, default=128)
    add("--seeds", type=int, default=3, choices=range(1, 7), metavar="1-6")
    add(
        "--published", type=int, default=0, choices=range(7), metavar="0-6",
        help="also train the published recipe with this many seeds: ten times the steps each",
    )  # fmt: skip
    add("--steps", type=int, default=FAST.steps, help="of every training except the published recipe")
    add(
        "--row", action="append", default=[],
        help="only this change, and the rows that need no training; may be repeated",
    )  # fmt: skip


def _ablation(arguments: Namespace) -> int:
    from tinyunet.launch.local_ranks import TrainingFailed
    from tinyunet.studies.ablation import BASE, ROWS, Study, run_study

    a = arguments
    changes = tuple(row for row in ROWS if row != BASE)
    for row in a.row:
        require(row in changes, "row", row, f"one of: {'; '.join(changes)}")
    out = a.out or Path(
        f"runs/ablation-{class_category(a.category) or 'all'}-{a.image_size}px-{a.steps}steps"
    )
    published = min(a.published, a.seeds)
    study = Study(out.absolute(), a.image_size, a.seeds, published, a.steps, tuple(a.row) or changes)
    try:
        run_study(study, a.source, a.category)
    except TrainingFailed as failure:
        return print_failure(failure)
    print(f"{out}: ablation.md, ablation.json, learning.svg")
    return 0
