"""The subcommands that prepare data: ingest, convert."""

from argparse import Namespace
from typing import TYPE_CHECKING

from tinyunet.cli.options import add_command, add_out, add_settings, filled, parse_settings, path
from tinyunet.core.config import DataConfig
from tinyunet.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands


def add_commands(commands: "Commands") -> None:
    """Add the subcommands of this module."""
    _add_ingest(commands)
    _add_convert(commands)


def _add_ingest(commands: "Commands") -> None:
    parser = add_command(commands, "ingest", "read images and masks of any layout and verify them", _ingest)
    add = parser.add_argument
    add(
        "source",
        type=filled,
        help="folder, archive, s3://bucket/prefix, https://… or synthetic://[?train=&test=&size=&seed=]",
    )
    add_out(parser, "folder of verified images")
    add("--category", "--class-id", default="", help="category of the data set; a class of DAGM2007: 1 to 10")
    add("--name", default="", help="name of the data set (default: that of the folder or the archive)")
    add("--layout", default="", help="layout of the data set, if it cannot be found")
    add("--images", default="", help="pattern of the image files in the layout pairs, e.g. 'photos/*.jpg'")
    add("--masks", default="", help="path of the mask of an image, e.g. 'labels/{stem}_gt.png'")
    add(
        "--channels",
        default="auto",
        help="1 (luminance), 3 (colour) or auto (default): 3 if any image has colour",
    )
    add(
        "--split",
        default="70/15/15",
        help="percentages for train, validation and test, if the data set has no splits (default 70/15/15)",
    )
    add("--unmasked", default="refused", help="an image without a mask is refused (default), or clean")
    add("--allow-partial", action="store_true", help="leave files with faults out instead of refusing all")


def _ingest(arguments: Namespace) -> None:
    from tinyunet.data.ingest import ingest
    from tinyunet.data.ingestion.options import IngestOptions

    values = {
        key: value for key, value in vars(arguments).items() if key in IngestOptions.__dataclass_fields__
    }
    ingest(arguments.source, arguments.out, IngestOptions(**values))
    print(f"{arguments.out / 'report.html'}: the checks of the images and their results")


def _add_convert(commands: "Commands") -> None:
    parser = add_command(commands, "convert", "write verified images as sharded TFRecords", _convert)
    parser.add_argument("raw", type=path, help="folder written by ingest")
    add_out(parser, "folder of TFRecords")
    add_settings(parser, DataConfig)


def _convert(arguments: Namespace) -> None:
    import_tensorflow()
    from tinyunet.data.tfrecord import convert

    manifest = convert(arguments.raw, arguments.out, DataConfig().replace(parse_settings(arguments.set)))
    for name, split in manifest.splits.items():
        print(f"{name}: {split.images} images, {split.defective} defective")
    print(f"{arguments.out}: digest {manifest.digest[:12]}")
