"""Output folders: they appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinyunet.errors import UserError
from tinyunet.schema import read_json


@contextmanager
def part_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder beside `out` to work in; it is gone afterwards unless it was renamed to `out`.

    Raises:
        UserError: if the file system refuses (no space, no right).
    """
    part = out.absolute().with_name(out.absolute().name + ".part")
    made = [folder for folder in part.parents if not folder.exists()]
    try:
        with writing(out):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # not empty: the output is in it
                folder.rmdir()


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn a refusal of the file system into one line: where, why, and while making what.

    Raises:
        UserError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        where, why = error.filename or out, error.strerror or str(error)[:200]
        raise UserError(f"{where}: {why} while making {out}; mend that, then run it again") from error


def is_done(out: Path, digest: str) -> bool:
    """Tell whether `out` holds the output of that digest already.

    Raises:
        UserError: if it holds anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / "manifest.json").is_file():
        raise UserError(f"{out} exists and is no output of this command; remove it or choose another")
    held = read_json(out / "manifest.json").get("digest")
    if held != digest:
        raise UserError(
            f"{out} holds other content ({str(held)[:12]}, not {digest[:12]}); remove it or choose another"
        )
    return True
