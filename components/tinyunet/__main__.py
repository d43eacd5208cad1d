"""`tinyunet` and `python -m tinyunet`: run a command; bad input is one line and exit code 2."""

import sys

from tinyunet.errors import UserError


def main() -> int:
    """Run the command line; return the exit code."""
    from tinyunet.cli import parse

    arguments = parse(sys.argv[1:])
    try:
        return int(arguments.run(arguments) or 0)
    except UserError as error:
        print(f"tinyunet: error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("tinyunet: interrupted", file=sys.stderr, flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
