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
from tinyunet.training.download import RecordsDownload, scratch_folder
from tinyunet.training.run import TrainingRun
from tinyunet.training.verification import SPLITS, Preparation, RecordsVerification, holds_records


class LocalRecords:
    """The records of a training in a local folder; their splits may still be on the way to it.

    Attributes:
        folder: The folder.
        manifest: Its manifest, which is complete.

    Args:
        folder: The folder.
        world: The ranks.
        prepared: Whether the first rank of this host fills the folder. If not, the folder is complete.
        preparation: On the first rank of a host, what fills or verifies the folder.
    """

    def __init__(
        self, folder: Path, world: World, *, prepared: bool = False, preparation: Preparation | None = None
    ) -> None:
        self.folder, self.manifest = folder, RecordsManifest.read(folder)
        self._world, self._prepared, self._preparation = world, prepared, preparation
        self._splits: dict[str, Split] = {}

    def split(self, name: str, image_size: int) -> Split:
        """Wait for a split, and open it; all ranks must call this together.

        The splits of a complete folder are opened together, because a launcher may delete the folder before
        the training ends.

        Args:
            name: `train` or `validation`.
            image_size: See `load_split`.

        Raises:
            UserError: if the preparation failed, or the split cannot be opened.
        """
        if name not in self._splits:
            names = (name,) if self._prepared else SPLITS
            if self._preparation:
                for each in names:
                    self._preparation.wait(each)
            if self._prepared:
                self._world.barrier()
            for each in names:
                self._splits[each] = load_split(self.folder, each, image_size, verify=False)
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
        """Raise the error of a preparation that failed while the training did not wait for it."""
        if self._preparation:
            self._preparation.check()


@contextmanager
def local_records(
    run: TrainingRun, world: World, preparation: Preparation | None = None
) -> Iterator[LocalRecords]:
    """Yield the records of a training in a local folder.

    If `run.records` is not a local folder of TFRecords, the first rank of each host prepares a temporary
    folder for all ranks of the host: it downloads records in the background, and ingests and converts images.
    The folder is prepared again on every start, because the images may have changed, and it is deleted at the
    end of the block. All ranks must have finished reading by then.

    Args:
        run: The training; `records` may be a source of images (synthetic://, .zip, https://, s3:// …).
        world: The ranks.
        preparation: The download or verification that this process began before it joined the other ranks;
            None if it began none. The caller ends it.

    Raises:
        UserError: if there are neither records nor images, or if another training uses the folder.
    """
    folder = Path(run.records)
    begun = preparation is None and world.local_rank == 0
    if holds_records(folder):
        with RecordsVerification(folder) if begun else nullcontext(preparation) as preparation:
            yield LocalRecords(folder, world, preparation=preparation)
        return
    if "://" not in run.records and not folder.exists():
        raise UserError(
            f"{run.records} does not exist; expected TFRecords (tinyunet convert), or {KINDS} of images"
        )
    scratch = scratch_folder(run)
    with RecordsDownload(run.records, scratch) if begun else nullcontext(preparation) as preparation:
        if isinstance(preparation, RecordsDownload) and not preparation.found():
            with tempfile.TemporaryDirectory() as temporary:
                raw = Path(temporary) / "raw"
                ingest(run.records, raw, category=run.category)
                convert(raw, scratch, DataConfig())
        world.barrier()
        if not (scratch / "manifest.json").is_file():
            raise UserError(f"{scratch} holds no records; the first rank of this host failed to prepare them")
        yield LocalRecords(scratch, world, prepared=True, preparation=preparation)


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
