"""The subcommands that train: train, reproduce."""

import signal
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.cli.options import add_command, add_settings, filled, parse_settings
from tinyunet.core.config import TrainConfig
from tinyunet.core.presets import PRESETS, modify_preset
from tinyunet.core.stopping import STOP_SIGNAL, raise_on_sigterm
from tinyunet.core.tensorflow_import import import_tensorflow
from tinyunet.core.urls import lower_scheme

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands
    from tinyunet.launch.local_ranks import TrainingFailed
    from tinyunet.training.run import TrainingRun

# Settings that also have an option of their own.
SHORT_OPTIONS = ("steps", "image_size", "patch", "precision", "seed", "accumulate", "compression")


def add_commands(commands: "Commands") -> None:
    """Add the subcommands of this module."""
    _add_train(commands)
    _add_reproduce(commands)


def print_failure(failure: "TrainingFailed") -> int:
    """Print why a training failed, unless its ranks have printed it; return the exit code."""
    if not failure.reported:
        print(f"tinyunet: {failure}", file=sys.stderr, flush=True)
    return failure.exit_code


def _add_train(commands: "Commands") -> None:
    parser = add_command(commands, "train", "train TinyUNet; resumes by default", _train)
    add = parser.add_argument
    add("records", type=filled, help="folder or s3:// of TFRecords, or a source of images as for ingest")
    add("--out", type=filled, required=True, help="model folder to write, local or s3://")
    add("--preset", default=TrainConfig().preset, help=f"recipe: {', '.join(sorted(PRESETS))}")
    for name in SHORT_OPTIONS:
        add(f"--{name.replace('_', '-')}", help=f"short for --set {name}=…")
    add(
        "--deterministic",
        action="store_true",
        help="the same seed and machine give the same weights, bit for bit, with any number of ranks",
    )
    add("--ranks", type=int, default=1, help="start this many ranks by mpirun on this machine")
    add("--category", "--class-id", default="", help="category, for a source of images")
    checkpoints = "folder or s3:// of checkpoints (default: OUT.checkpoints)"
    add("--checkpoints", type=lower_scheme, default="", help=checkpoints)
    add("--keep-checkpoints", action="store_true", help="do not delete the last checkpoint at the end")
    lease = "end, with a checkpoint, when nobody renewed the lease beside the checkpoints (S3) for this long"
    add("--lease", type=int, default=0, metavar="SECONDS", help=f"{lease}; launchers of MPIJobs set it")
    add("--run-key", default="", help="identity of the MLflow run (default: derived from OUT)")
    add_settings(parser, TrainConfig)


def _train(arguments: Namespace) -> int:
    from tinyunet.launch.launch import launch_local
    from tinyunet.launch.local_ranks import TrainingFailed
    from tinyunet.training.distributed import launched_size
    from tinyunet.training.run import check_shares

    run = training_run(arguments)
    check_shares(run.config, run.ranks)
    if run.ranks > 1 and launched_size() == 1:
        try:
            launch_local(run)
        except TrainingFailed as failure:
            return print_failure(failure)
        return 0
    from tinyunet.training.download import early_preparation

    signal.signal(STOP_SIGNAL, signal.default_int_handler)  # as after SIGTERM, temporary folders are deleted
    with raise_on_sigterm(), early_preparation(run) as preparation:
        import_tensorflow()
        from tinyunet.launch.rank import run_rank

        return run_rank(run, preparation)


def training_run(arguments: Namespace) -> "TrainingRun":
    """Return the training that the arguments of `tinyunet train` describe.

    Raises:
        UserError: for an unknown preset or key, or a value that does not fit.
    """
    from tinyunet.training.run import TrainingRun

    options = {name: getattr(arguments, name) for name in SHORT_OPTIONS}
    changes = {name: value for name, value in options.items() if value is not None}
    deterministic = {"deterministic": True} if arguments.deterministic else {}
    return TrainingRun(
        records=arguments.records,
        out=arguments.out,
        config=modify_preset(arguments.preset, changes | deterministic | parse_settings(arguments.set)),
        run_key=arguments.run_key,
        ranks=arguments.ranks,
        category=arguments.category,
        checkpoints=arguments.checkpoints,
        keep_checkpoints=arguments.keep_checkpoints,
        lease=arguments.lease,
    )


def _add_reproduce(commands: "Commands") -> None:
    parser = add_command(
        commands, "reproduce", "train again from the record of an MLflow run, and compare", _reproduce
    )
    parser.add_argument("run_id", help="MLflow run of a finished training")
    parser.add_argument("records", type=Path, help="folder of the same TFRecords")
    parser.add_argument("--out", required=True, help="model folder of the second training, local or s3://")


def _reproduce(arguments: Namespace) -> int:
    from tinyunet.launch.local_ranks import TrainingFailed
    from tinyunet.studies.reproduce import reproduce

    try:
        comparison = reproduce(arguments.run_id, arguments.records, arguments.out)
    except TrainingFailed as failure:
        return print_failure(failure)
    print("\n".join(comparison.lines()))
    return int(comparison.expected and comparison.identical is False)
