"""The input of a training: records from any location on the local disk, and their normalization."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tinyunet.core.config import DataConfig, TrainConfig
from tinyunet.core.documents.model import Normalization
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Split, load_split, statistics
from tinyunet.data.ingest import ingest
from tinyunet.data.sources.source import KINDS
from tinyunet.data.tfrecord import convert
from tinyunet.model.unet import ZERO_CENTERED
from tinyunet.training.distributed import World
from tinyunet.training.download import SPLITS, RecordsDownload, scratch_folder
from tinyunet.training.run import TrainingRun


class LocalRecords:
    """The records of a training in a local folder; their splits may still be on the way to it.

    Attributes:
        folder: The folder.
        manifest: Its manifest, which is complete.

    Args:
        folder: The folder.
        world: The ranks.
        prepared: Whether the first rank of this host prepares the folder. If not, the folder is complete.
        download: On the first rank of a host, what prepares the folder.
    """

    def __init__(
        self, folder: Path, world: World, *, prepared: bool = False, download: RecordsDownload | None = None
    ) -> None:
        self.folder, self.manifest = folder, RecordsManifest.read(folder)
        self._world, self._prepared, self._download = world, prepared, download
        self._splits: dict[str, Split] = {}

    def split(self, name: str, image_size: int) -> Split:
        """Wait for a split, and open it; all ranks must call this together.

        The splits of a complete folder are opened together, because a launcher may delete the folder before
        the training ends.

        Args:
            name: `train` or `validation`.
            image_size: See `load_split`.

        Raises:
            UserError: if the download failed, or the split cannot be opened.
        """
        if name not in self._splits:
            if self._download:
                self._download.wait(name)
            if self._prepared:
                self._world.barrier()
            # The first rank of a host verifies a complete folder; a download has been verified.
            verify = self._world.local_rank == 0 and not self._prepared
            for opened in (name,) if self._prepared else SPLITS:
                self._splits[opened] = load_split(self.folder, opened, image_size, verify=verify)
        return self._splits[name]

    def is_open(self, name: str) -> bool:
        """Return whether a split is open, so that `split` does not wait; all ranks have the same answer."""
        return name in self._splits

    def statistics(self, image_size: int) -> tuple[float, float]:
        """Return what `dataset.statistics` returns for train; wait for the images only if they are needed.

        Args:
            image_size: As for `split`; all ranks must call this together.
        """
        known, size = self.manifest.statistics, (image_size, image_size)
        as_stored = image_size == 0 or (self.manifest.uniform and self.manifest.image_shape == size)
        if known and as_stored:
            return known.mean, known.deviation
        return statistics(self.split("train", image_size))

    def check(self) -> None:
        """Raise the error of a download that failed while the training did not wait for it."""
        if self._download:
            self._download.check()


@contextmanager
def local_records(
    run: TrainingRun, world: World, download: RecordsDownload | None = None
) -> Iterator[LocalRecords]:
    """Yield the records of a training in a local folder.

    If `run.records` is not a local folder of TFRecords, the first rank of each host prepares a temporary
    folder for all ranks of the host: it downloads records in the background, and ingests and converts images.
    The folder is prepared again on every start, because the images may have changed, and it is deleted at the
    end of the block. All ranks must have finished reading by then.

    Args:
        run: The training; `records` may be a source of images (synthetic://, .zip, https://, s3:// …).
        world: The ranks.
        download: The download that this process began before it joined the other ranks; None if it began
            none. The caller ends it.

    Raises:
        UserError: if there are neither records nor images, or if another training uses the folder.
    """
    folder = Path(run.records)
    if (folder / "manifest.json").is_file() and not (folder / "Train").is_dir():
        yield LocalRecords(folder, world)
        return
    if "://" not in run.records and not folder.exists():
        raise UserError(
            f"{run.records} does not exist; expected TFRecords (tinyunet convert), or {KINDS} of images"
        )
    scratch = scratch_folder(run)
    begun = download is None and world.local_rank == 0
    with RecordsDownload(run.records, scratch) if begun else nullcontext(download) as download:
        if download and not download.found():
            with tempfile.TemporaryDirectory() as temporary:
                raw = Path(temporary) / "raw"
                ingest(run.records, raw, category=run.category)
                convert(raw, scratch, DataConfig())
        world.barrier()
        if not (scratch / "manifest.json").is_file():
            raise UserError(f"{scratch} holds no records; the first rank of this host failed to prepare them")
        yield LocalRecords(scratch, world, prepared=True, download=download)


def normalization(
    config: TrainConfig, bits: int, train_statistics: Callable[[], tuple[float, float]]
) -> Normalization:
    """Return the scale and the offset of the model's input, which is grey · scale + offset.

    Args:
        config: `normalization` is used.
        bits: Bits per channel of the images, 8 or 16.
        train_statistics: Returns the mean and the standard deviation of the levels of the training images.
    """
    if config.normalization == "zero_centered":
        scale, offset = ZERO_CENTERED
        return Normalization(scale=scale if bits == 8 else 2 / (2**bits - 1), offset=offset)
    mean, deviation = train_statistics()
    deviation = max(deviation, 1.0)
    return Normalization(scale=1.0 / deviation, offset=-mean / deviation)
