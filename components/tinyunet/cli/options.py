"""Define the argument parser and the options of several commands, and print the errors of commands."""

import errno
import io
import os
import select
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.console import one_line
from tinyunet.core.errors import CommandError, UserError
from tinyunet.core.urls import lower_scheme

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands = _SubParsersAction["Parser"]

PRECISIONS = ("auto", "float32", "bfloat16", "int8")  # of the engine, see `engine.network.resolve`

# All ranks fail with the same error. Rank 0 prints it, and mpirun ends the other ranks within this time.
ERROR_DELAY_S = 20.0
STDOUT = 1  # its file descriptor


class Parser(ArgumentParser):
    """An argument parser that prints an error as one line.

    Attributes:
        hint: Text at the end of the line; if it is empty, the line refers to --help.
    """

    hint = ""

    def error(self, message: str) -> NoReturn:
        """Print the error and the place where the options are listed, and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message}; {self.hint or f'see {self.prog} --help'}\n")


def add_command(commands: "Commands", name: str, text: str, run: Callable[[Namespace], int | None]) -> Parser:
    """Add a subcommand that calls `run` with its parsed arguments; `text` is its help text."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def filled(text: str) -> str:
    """Return the text of an argument; the scheme of a URL is in lower case.

    Raises:
        ArgumentTypeError: if it is empty, as where a variable of a shell is not set.
    """
    if not text.strip():
        raise ArgumentTypeError(f"is {text!r}, expected a value")
    return lower_scheme(text)


def path(text: str) -> Path:
    """Return the path in an argument, which is not empty; see `filled`."""
    return Path(filled(text))


def add_out(parser: ArgumentParser, text: str) -> None:
    """Add the required option `--out`, a path; `text` is its help text."""
    parser.add_argument("--out", type=path, required=True, help=text)


def add_settings(parser: ArgumentParser, config: type[DataConfig | TrainConfig | EvalConfig]) -> None:
    """Add `--set KEY=VALUE` for the keys of a configuration."""
    keys = ", ".join(name for name in config.model_fields if name != "preset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help=f"change one of: {keys}"
    )


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """Convert settings of the form KEY=VALUE to a dictionary.

    Raises:
        UserError: for a setting without `=`, without a key or without a value.
    """
    parts = [setting.partition("=") for setting in settings]
    for key, equals, value in parts:
        if not (key and value):
            raise UserError(f"--set {key}{equals}{value}; expected KEY=VALUE, for example --set seed=1")
    return {key: value for key, _, value in parts}


def run_command(function: Callable[[], int | None]) -> int:
    """Run a command and print its error, if any, as one line on stderr.

    Args:
        function: The command; it returns its exit code, or None for 0.

    Returns:
        The exit code: that of the command, that of a CommandError (2 for a UserError), or 130 after Ctrl-C.
    """
    _prepare_streams()
    try:
        return _run(function)
    except KeyboardInterrupt:
        if _rank() == 0:
            print("tinyunet: interrupted", file=sys.stderr, flush=True)
        return 130


def _prepare_streams() -> None:
    """Open the standard streams that are closed, and let stdout take paths that its encoding cannot write.

    Without this, the first file that is opened would take the place of the closed stream, and get the text of
    libraries in it.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free one, thus that of the stream
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(function: Callable[[], int | None]) -> int:
    try:
        return _call(function)
    except CommandError as error:
        if _rank() > 0:
            time.sleep(ERROR_DELAY_S)
        with suppress(OSError):  # nobody reads stderr
            print(f"tinyunet: error: {one_line(str(error))}", file=sys.stderr, flush=True)
        _drop_output()
        return error.exit_code


def _call(function: Callable[[], int | None]) -> int:
    """Run a command and return its exit code.

    Raises:
        UserError: also instead of an error of a file or a disk that no part of the command has described.
    """
    try:
        code = function() or 0
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE and _drop_output():
            return 128 + signal.SIGPIPE
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path = "" if error.filename is None else f"{error.filename}: "
        raise UserError(f"{path}{error.strerror}; correct this, and run the command again") from error
    return code


def _drop_output() -> bool:
    """Drop output that cannot be written; return whether its reader has gone, such as `head`."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    try:
        sys.stdout.flush()
    except OSError:  # a full disk, or no reader; Python would try again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return gone


def _rank() -> int:
    from tinyunet.training.distributed import launched_rank

    return launched_rank()
