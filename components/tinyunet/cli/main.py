"""The command line: parse, check, delegate. Commands on trained models are in `cli_models`."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet import __version__
from tinyunet.bench.config import GROUPS, BenchConfig
from tinyunet.cli import models as models
from tinyunet.cli.options import Parser, command, out, pairs, settings
from tinyunet.core.config import DataConfig, TrainConfig
from tinyunet.core.presets import PRESETS, recipe
from tinyunet.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands
    from tinyunet.launch.local_ranks import TrainingFailed

SHORTS = ("steps", "image_size", "precision", "seed", "accumulate", "compression")  # of train's --set


def parse(arguments: Sequence[str]) -> Namespace:
    """Parse the command line; `run` of the result is the command's function."""
    parser = Parser("tinyunet", description="TinyUNet: defect segmentation, from images to a model.")
    parser.add_argument("--version", action="version", version=f"tinyunet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    learn, judge = (_ingest, _convert, _train, _reproduce), (models.evaluate, models.compare, models.register)
    for add in (*learn, *judge, models.predict, models.export, _bench, _doctor):
        add(commands)
    return parser.parse_args(arguments or ["--help"])


def _ingest(commands: "Commands") -> None:
    p = command(commands, "ingest", "bring DAGM2007 images here and verify them", _run_ingest)
    p.add_argument(
        "source",
        help="folder, .zip, s3://bucket/prefix, https://… or synthetic://[?train=&test=&size=&seed=]",
    )
    p.add_argument("--class-id", type=int, default=DataConfig.class_id, help="DAGM2007 class, 1 to 10")
    out(p, "folder of verified images")


def _run_ingest(a: Namespace) -> None:
    from tinyunet.data.ingest import ingest

    DataConfig(class_id=a.class_id)
    ingest(a.source, a.out, class_id=a.class_id)
    print(f"{a.out / 'report.html'}: what was checked and found")


def _convert(commands: "Commands") -> None:
    p = command(commands, "convert", "write verified images as sharded TFRecords", _run_convert)
    p.add_argument("raw", type=Path, help="folder written by ingest")
    out(p, "folder of TFRecords")
    settings(p, DataConfig)


def _run_convert(a: Namespace) -> None:
    import_tensorflow()
    from tinyunet.data.ingest import read_raw
    from tinyunet.data.tfrecord import convert

    config = DataConfig(class_id=read_raw(a.raw)["class_id"]).replace(pairs(a.set))
    manifest = convert(a.raw, a.out, config)
    for name, split in manifest["splits"].items():
        print(f"{name}: {split['images']} images, {split['defective']} defective")
    print(f"{a.out}: digest {manifest['digest'][:12]}")


def _train(commands: "Commands") -> None:
    p = command(commands, "train", "train TinyUNet; resumes by default", _run_train)
    p.add_argument("records", help="folder or s3:// of TFRecords, or a source of images as for ingest")
    p.add_argument("--out", required=True, help="model folder to write, local or s3://")
    p.add_argument("--preset", default=TrainConfig.preset, help=f"recipe: {', '.join(sorted(PRESETS))}")
    for name in SHORTS:
        p.add_argument(f"--{name.replace('_', '-')}", help="short for --set " + name + "=…")
    p.add_argument(
        "--deterministic",
        action="store_true",
        help="same seed and machine, same weights at any number of ranks, bit for bit",
    )
    p.add_argument("--ranks", type=int, default=1, help="start this many ranks by mpirun on this machine")
    p.add_argument("--class-id", type=int, default=DataConfig.class_id, help="class, for a source of images")
    p.add_argument(
        "--checkpoints", default="", help="folder or s3:// of checkpoints (default: OUT.checkpoints)"
    )
    p.add_argument(
        "--keep-checkpoints", action="store_true", help="leave the last one of a finished training"
    )
    p.add_argument(
        "--run-key", default="", help="identity under which MLflow keeps the run (default: from OUT)"
    )
    settings(p, TrainConfig)


def _run_train(a: Namespace) -> int:
    from tinyunet.launch.launch import Launch, check_shares, default_run_key, launch_local
    from tinyunet.launch.local_ranks import TrainingFailed
    from tinyunet.training.distributed import launched_size

    shorts = {k: getattr(a, k) for k in SHORTS if getattr(a, k) is not None}
    deterministic = {"deterministic": True} if a.deterministic else {}
    config = recipe(a.preset, shorts | deterministic | pairs(a.set))
    check_shares(config, a.ranks)
    launch = Launch(
        records=a.records,
        out=a.out,
        config=config,
        run_key=a.run_key or default_run_key(a.out),
        ranks=a.ranks,
        class_id=a.class_id,
        checkpoints=a.checkpoints or f"{a.out.rstrip('/')}.checkpoints",
        keep=a.keep_checkpoints,
    )
    if a.ranks > 1 and launched_size() == 1:
        try:
            launch_local(launch)
        except TrainingFailed as failure:
            return _failed(failure)
        return 0
    import_tensorflow()
    from tinyunet.launch.rank import run_rank

    return run_rank(launch)


def _failed(failure: "TrainingFailed") -> int:
    if not failure.said:
        print(f"tinyunet: {failure}", file=sys.stderr, flush=True)
    return failure.code


def _reproduce(commands: "Commands") -> None:
    p = command(commands, "reproduce", "train again as an MLflow run says, and compare", _run_reproduce)
    p.add_argument("run_id", help="MLflow run of a finished training")
    p.add_argument("records", type=Path, help="folder of the same TFRecords")
    p.add_argument("--out", required=True, help="model folder of the second training, local or s3://")


def _run_reproduce(a: Namespace) -> int:
    from tinyunet.launch.local_ranks import TrainingFailed
    from tinyunet.studies.reproduce import reproduce

    try:
        comparison = reproduce(a.run_id, a.records, a.out)
    except TrainingFailed as failure:
        return _failed(failure)
    print("\n".join(comparison.lines()))
    return int(comparison.expected and comparison.identical is False)


def _bench(commands: "Commands") -> None:
    p = command(commands, "bench", "measure every part of the project on this machine", _run_bench)
    p.add_argument("--image-size", type=int, default=BenchConfig.image_size)
    p.add_argument("--rounds", type=int, default=BenchConfig.rounds, help="interleaved; medians are reported")
    p.add_argument("--seconds", type=float, default=BenchConfig.seconds, help="of a measurement, at least")
    p.add_argument("--ranks", type=int, default=BenchConfig.ranks, help="compared with one; 1 leaves it out")
    p.add_argument("--only", default="", metavar="GROUP,…", help=f"some of: {', '.join(GROUPS)}")
    p.add_argument("--out", type=Path, default=Path("runs/bench.json"), help="JSON file of the figures")


def _run_bench(a: Namespace) -> None:
    names = ("image_size", "rounds", "seconds", "ranks", "only")
    config = BenchConfig(**{name: getattr(a, name) for name in names})
    import_tensorflow()
    from tinyunet.bench.bench import bench

    bench(config, a.out)


def _doctor(commands: "Commands") -> None:
    command(commands, "doctor", "say what is missing, unreachable or mis-set", _run_doctor)


def _run_doctor(a: Namespace) -> int:
    from tinyunet.devtools.doctor import run

    checks = run()
    for check in checks:
        print(f"{check.status:4}  {check.name}: {check.detail}")
        if check.remedy:
            print(f"      -> {check.remedy}")
    return int(any(check.status == "fail" for check in checks))
