"""What a training reads: its TFRecords, brought to this host from anywhere, and their normalization."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tinyunet.core.config import DataConfig, TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path
from tinyunet.core.locks import exclusive_lock
from tinyunet.data.dataset import Split, statistics
from tinyunet.data.ingest import ingest
from tinyunet.data.sources import KINDS
from tinyunet.data.tfrecord import convert, read_manifest
from tinyunet.model.unet import ZERO_CENTERED
from tinyunet.storage import s3
from tinyunet.storage.transfer import run_concurrently
from tinyunet.training.distributed import World

TRIES = 3  # of a download whose bytes do not fit the manifest
SPLITS = ("train", "validation")  # what a training reads; the test split stays where it is


@contextmanager
def local_records(records: str, world: World, *, class_id: int, run_key: str) -> Iterator[Path]:
    """Give a local folder of TFRecords; what is no local folder the first rank of the host brings to one.

    That folder is made anew, as the images may be others now, held against a second training of the same
    key, and removed on the way out: all ranks must be done by then.

    Args:
        records: Folder or s3:// prefix written by `tinyunet convert`, or a source of images
            (synthetic://, .zip, https://, s3:// …), which is ingested and converted first.
        world: The ranks.
        class_id: DAGM2007 class, used for a source of images only.
        run_key: Names the folder, so that all ranks of the host find it.

    Raises:
        UserError: if there are neither records nor images, or another training holds the folder.
    """
    folder = Path(records)
    if (folder / "manifest.json").is_file() and not (folder / "Train").is_dir():
        yield folder
        return
    if "://" not in records and not folder.exists():
        raise UserError(
            f"{records} does not exist; expected TFRecords (tinyunet convert), or {KINDS} of images"
        )
    scratch = Path(tempfile.gettempdir()) / f"tinyunet-{run_key}-records"
    with _made(records, scratch, class_id) if world.local_rank == 0 else nullcontext():
        world.barrier()
        if not (scratch / "manifest.json").is_file():
            raise UserError(f"{scratch} holds no records; the first rank of this host failed to prepare them")
        yield scratch


@contextmanager
def _made(records: str, scratch: Path, class_id: int) -> Iterator[None]:
    with exclusive_lock(scratch):
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            _prepare(records, scratch, class_id)
            yield
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def normalization(config: TrainConfig, split: Split) -> tuple[float, float]:
    """Give scale and offset of the model's input: grey·scale + offset."""
    if config.normalization == "zero_centered":
        return ZERO_CENTERED
    mean, deviation = statistics(split)
    deviation = max(deviation, 1.0)
    return 1.0 / deviation, -mean / deviation


def _prepare(records: str, scratch: Path, class_id: int) -> None:
    if records.startswith("s3://") and s3.exists(f"{records.rstrip('/')}/manifest.json"):
        _download(records.rstrip("/"), scratch)
        return
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        ingest(records, raw, class_id=class_id)
        convert(raw, scratch, DataConfig(class_id=class_id))


def _download(prefix: str, scratch: Path) -> None:
    with atomic_path(scratch) as part:
        part.mkdir()
        s3.fetch(f"{prefix}/manifest.json", part / "manifest.json")
        splits = read_manifest(part)["splits"]
        shards = [shard for name in SPLITS for shard in splits[name]["shards"]]
        run_concurrently(lambda shard: _fetch_shard(prefix, part, shard), shards)


def _fetch_shard(prefix: str, folder: Path, shard: dict[str, Any]) -> None:
    path = folder / shard["file"]
    for _ in range(TRIES):
        s3.fetch(f"{prefix}/{shard['file']}", path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest == shard["sha256"]:
            return
        path.unlink()
    raise UserError(
        f"{prefix}/{shard['file']} has SHA-256 {digest[:12]}…, expected "
        f"{shard['sha256'][:12]}… of the manifest; "
        "convert and upload the records again"
    )
