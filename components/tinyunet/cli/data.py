"""The subcommands that prepare data: ingest, convert."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.cli.options import add_command, add_out, add_settings, parse_settings
from tinyunet.core.config import DataConfig
from tinyunet.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands


def add_commands(commands: "Commands") -> None:
    """Add the subcommands of this module."""
    _add_ingest(commands)
    _add_convert(commands)


def _add_ingest(commands: "Commands") -> None:
    parser = add_command(commands, "ingest", "copy DAGM2007 images into a folder and verify them", _ingest)
    parser.add_argument(
        "source",
        help="folder, .zip, s3://bucket/prefix, https://… or synthetic://[?train=&test=&size=&seed=]",
    )
    parser.add_argument("--class-id", type=int, default=DataConfig().class_id, help="DAGM2007 class, 1 to 10")
    add_out(parser, "folder of verified images")


def _ingest(arguments: Namespace) -> None:
    from tinyunet.data.ingest import ingest

    DataConfig(class_id=arguments.class_id)
    ingest(arguments.source, arguments.out, class_id=arguments.class_id)
    print(f"{arguments.out / 'report.html'}: the checks of the images and their results")


def _add_convert(commands: "Commands") -> None:
    parser = add_command(commands, "convert", "write verified images as sharded TFRecords", _convert)
    parser.add_argument("raw", type=Path, help="folder written by ingest")
    add_out(parser, "folder of TFRecords")
    add_settings(parser, DataConfig)


def _convert(arguments: Namespace) -> None:
    import_tensorflow()
    from tinyunet.core.documents.raw import RawManifest
    from tinyunet.data.tfrecord import convert

    config = DataConfig(class_id=RawManifest.read(arguments.raw).class_id)
    manifest = convert(arguments.raw, arguments.out, config.replace(parse_settings(arguments.set)))
    for name, split in manifest.splits.items():
        print(f"{name}: {split.images} images, {split.defective} defective")
    print(f"{arguments.out}: digest {manifest.digest[:12]}")
