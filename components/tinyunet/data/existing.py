"""The check whether an output folder already holds the result of a step."""

from pathlib import Path

from tinyunet.core.console import say
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.raw import OLD_FILE, read_dataset

_LONG = ("splits", "statistics", "notes")  # keys of a manifest whose values are not said in one line


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


def renew(out: Path, manifest: RecordsManifest) -> RecordsManifest:
    """Return the manifest of records that exist already; write it again if it says something else about them.

    Args:
        out: Folder that holds the records.
        manifest: The new manifest; it has the digest of the existing one.
    """
    existing, what = RecordsManifest.read(out), f"{out} already holds these records ({manifest.digest[:12]})"
    old, new = existing.model_dump(), manifest.model_dump()
    changed = [f"{key}={new[key]!r}" for key in new if new[key] != old[key] and key not in _LONG]
    if existing == manifest:
        say(f"{what}, nothing to do")
        return existing
    manifest.write(out)
    say(f"{what}; manifest.json now says {', '.join(changed) or 'the same in another form'}")
    return manifest
