"""Run the command line as `python -m tinyunet`."""

import sys

from tinyunet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
