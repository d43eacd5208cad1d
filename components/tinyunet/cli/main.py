"""Parse the command line and run the subcommand."""

import sys
from argparse import Namespace
from collections.abc import Sequence

from tinyunet import __version__
from tinyunet.cli import data, machine, models, serving, training
from tinyunet.cli.options import Parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `tinyunet` with these arguments, by default the process's own.

    Returns:
        The exit code.
    """
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: parsed.run(parsed))


def parse(arguments: Sequence[str]) -> Namespace:
    """Parse the command line; `run` of the result is the subcommand's function."""
    parser = Parser("tinyunet", description="TinyUNet: defect segmentation, from images to a model.")
    parser.add_argument("--version", action="version", version=f"tinyunet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (data, training, models, serving, machine):
        group.add_commands(commands)
    return parser.parse_args(arguments or ["--help"])
