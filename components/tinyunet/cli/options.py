"""What the commands of the command line share: their parsers, `--out` and `--set`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.errors import UserError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands = _SubParsersAction["Parser"]

Command = Callable[[Namespace], int | None]


class Parser(ArgumentParser):
    """A parser whose errors are one line.

    Attributes:
        hint: What the line says at its end.
    """

    hint = ""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the options are listed; exit with 2."""
        self.exit(2, f"{self.prog}: error: {message}; {self.hint or f'see {self.prog} --help'}\n")


def command(commands: "Commands", name: str, text: str, run: Command) -> Parser:
    """Add a command; `run` of what it parses is its function."""
    p = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    p.set_defaults(run=run)
    return p


def out(p: ArgumentParser, text: str) -> None:
    """Add the folder or file to write."""
    p.add_argument("--out", type=Path, required=True, help=text)


def settings(p: ArgumentParser, config: type[DataConfig | TrainConfig | EvalConfig]) -> None:
    """Add `--set KEY=VALUE` for the keys of a configuration."""
    keys = ", ".join(f.name for f in fields(config) if f.name != "preset")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=f"change one of: {keys}")


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """Split KEY=VALUE settings.

    Raises:
        UserError: for one without `=`, or with nothing on a side of it.
    """
    parts = [setting.partition("=") for setting in settings]
    for key, equals, value in parts:
        if not (key and value):
            raise UserError(f"--set {key}{equals}{value}; expected KEY=VALUE, for example --set seed=1")
    return {key: value for key, _, value in parts}
