"""Whether a folder holds the output of a step already."""

from pathlib import Path

from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError


def already_holds(out: Path, kind: type[RawManifest | RecordsManifest], digest: str) -> bool:
    """Return whether `out` holds the output with this digest.

    Args:
        out: Folder that a step is about to write; it may be missing or empty.
        kind: Type of the folder's manifest.
        digest: Digest of the new output.

    Raises:
        UserError: if it holds anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / kind.FILE).is_file():
        raise UserError(f"{out} exists and is no output of this command; remove it or choose another")
    held = kind.read(out).digest
    if held != digest:
        raise UserError(
            f"{out} holds other content ({held[:12]}, not {digest[:12]}); remove it or choose another"
        )
    return True
