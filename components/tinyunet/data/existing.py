"""The check whether an output folder already holds the result of a step."""

from pathlib import Path

from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.raw import OLD_FILE, read_dataset


def already_holds(out: Path, kind: type[RawManifest | RecordsManifest], digest: str) -> bool:
    """Return whether `out` holds the output with this digest.

    Args:
        out: Folder that a step is about to write; it may be missing or empty.
        kind: Type of the folder's manifest.
        digest: Digest of the new output.

    Raises:
        UserError: if the folder holds anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    known = kind.FILE if kind is not RawManifest or (out / RawManifest.FILE).is_file() else OLD_FILE
    if not (out / known).is_file():
        raise UserError(
            f"{out} exists and is not an output of this command; delete it or choose another --out"
        )
    existing_digest = (read_dataset(out) if kind is RawManifest else kind.read(out)).digest
    if existing_digest != digest:
        raise UserError(
            f"{out} holds other content ({existing_digest[:12]}, not {digest[:12]}); "
            "delete it or choose another --out"
        )
    return True
