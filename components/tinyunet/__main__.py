"""`tinyunet` and `python -m tinyunet`: run a command; bad input is one line and exit code 2."""

import sys
import time
from argparse import Namespace

from tinyunet.core.errors import UserError

LATER_S = 20.0  # what refuses one rank refuses all: rank 0 says it, and mpirun ends the others meanwhile


def main() -> int:
    """Run the command line; return the exit code."""
    from tinyunet.cli.main import parse

    arguments = parse(sys.argv[1:])
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        if not _rank():
            print("tinyunet: interrupted", file=sys.stderr, flush=True)
        return 130


def _run(arguments: Namespace) -> int:
    try:
        return int(arguments.run(arguments) or 0)
    except UserError as error:
        if _rank():
            time.sleep(LATER_S)
        print(f"tinyunet: error: {error}", file=sys.stderr, flush=True)
        return 2


def _rank() -> int:
    from tinyunet.training.distributed import launched_rank

    return launched_rank()


if __name__ == "__main__":
    sys.exit(main())
