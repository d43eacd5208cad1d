"""The input of a training: records from any location on the local disk, and their normalization."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from tinyunet.core.config import DataConfig, TrainConfig
from tinyunet.core.documents.model import Normalization
from tinyunet.core.documents.records import RecordsManifest, Shard
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, file_sha256
from tinyunet.core.locks import exclusive_lock
from tinyunet.data.dataset import Split, statistics
from tinyunet.data.ingest import ingest
from tinyunet.data.records.index import index_path
from tinyunet.data.sources.source import KINDS
from tinyunet.data.tfrecord import convert
from tinyunet.model.unet import ZERO_CENTERED
from tinyunet.storage import s3
from tinyunet.storage.transfer import run_concurrently
from tinyunet.training.distributed import World

DOWNLOADS = 3  # attempts to download a shard whose SHA-256 differs from the manifest
SPLITS = ("train", "validation")  # a training does not read the test split


@contextmanager
def local_records(records: str, world: World, *, category: str, run_key: str) -> Iterator[Path]:
    """Yield a local folder of TFRecords.

    If `records` is not a local folder of TFRecords, the first rank of each host prepares a temporary folder
    for all ranks of the host. A lock prevents a second training of the same run key from using this folder.
    The folder is prepared again on every start, because the images may have changed, and it is deleted at the
    end of the block. All ranks must have finished reading by then.

    Args:
        records: Folder or s3:// prefix written by `tinyunet convert`, or a source of images
            (synthetic://, .zip, https://, s3:// …), which is ingested and converted first.
        world: The ranks.
        category: Category of the data set, used for a source of images only.
        run_key: Part of the folder's name, by which all ranks of the host find the folder.

    Raises:
        UserError: if there are neither records nor images, or if another training uses the folder.
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
    with _prepared(records, scratch, category) if world.local_rank == 0 else nullcontext():
        world.barrier()
        if not (scratch / "manifest.json").is_file():
            raise UserError(f"{scratch} holds no records; the first rank of this host failed to prepare them")
        yield scratch


@contextmanager
def _prepared(records: str, scratch: Path, category: str) -> Iterator[None]:
    with exclusive_lock(scratch):
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            _prepare(records, scratch, category)
            yield
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _prepare(records: str, scratch: Path, category: str) -> None:
    if records.startswith("s3://") and s3.exists(f"{records.rstrip('/')}/manifest.json"):
        _download(records.rstrip("/"), scratch)
        return
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        ingest(records, raw, category=category)
        convert(raw, scratch, DataConfig())


def _download(prefix: str, scratch: Path) -> None:
    with atomic_path(scratch) as part:
        part.mkdir()
        s3.fetch(f"{prefix}/manifest.json", part / "manifest.json")
        splits = RecordsManifest.read(part).splits
        shards = [shard for name in SPLITS for shard in splits[name].shards]
        stored = set(s3.list_objects(prefix))
        run_concurrently(lambda shard: _download_shard(prefix, part, shard, stored), shards)


def _download_shard(prefix: str, folder: Path, shard: Shard, stored: set[str]) -> None:
    """Download a shard, and its index if there is one; without it, the shard would be scanned."""
    path = folder / shard.file
    index = index_path(path)
    if f"{prefix}/{index.name}" in stored:
        s3.fetch(f"{prefix}/{index.name}", index)
    for _ in range(DOWNLOADS):
        s3.fetch(f"{prefix}/{shard.file}", path)
        digest = file_sha256(path)
        if digest == shard.sha256:
            return
        path.unlink()
    raise UserError(
        f"{prefix}/{shard.file} has SHA-256 {digest[:12]}…, expected {shard.sha256[:12]}… of the manifest; "
        "convert and upload the records again"
    )


def normalization(config: TrainConfig, split: Split) -> Normalization:
    """Return the scale and the offset of the model's input, which is grey · scale + offset.

    Args:
        config: `normalization` is used.
        split: The training images.
    """
    if config.normalization == "zero_centered":
        scale, offset = ZERO_CENTERED
        if (largest := np.iinfo(split.images[0].dtype).max) > 255:
            scale = 2 / largest
        return Normalization(scale=scale, offset=offset)
    mean, deviation = statistics(split)
    deviation = max(deviation, 1.0)
    return Normalization(scale=1.0 / deviation, offset=-mean / deviation)
