"""Whether a step has written its output already."""

from pathlib import Path

from tinyunet.core.errors import UserError
from tinyunet.core.files import read_json


def already_holds(out: Path, digest: str) -> bool:
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
