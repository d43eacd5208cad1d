"""Run blocks of the pages in one process: `python -m tests.repository.block_runner JOBS`.

JOBS is a JSON file: a list of objects with `place`, `folder`, `language` and `text`. The standard output of
every block is written beside it, into `<number>.txt`. The first command that fails ends the run with code 1.
"""

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from tinyunet.__main__ import main as tinyunet


def run_shell(text: str) -> None:
    """Run a block line by line: `tinyunet` in this process, everything else in a shell."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["tinyunet"]:
            sys.argv = words
            if code := tinyunet():
                raise SystemExit(f"exit code {code} of: {line}")
        elif words:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], stdout=subprocess.PIPE, text=True)
            print(done.stdout, end="")
            if done.returncode:
                raise SystemExit(f"exit code {done.returncode} of: {line}")


def run_python(text: str) -> None:
    """Run a block as a program."""
    exec(compile(text, "block", "exec"), {"__name__": "block"})


def main(jobs: Path) -> None:
    """Run the blocks in order, each in its folder."""
    for number, job in enumerate(json.loads(jobs.read_text())):
        os.chdir(job["folder"])
        print(f"== {job['place']}", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            (run_python if job["language"] == "python" else run_shell)(job["text"])
        jobs.with_name(f"{number}.txt").write_text(output.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
