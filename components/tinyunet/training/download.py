"""The download of the records of a training from S3, in the background.

It starts before TensorFlow is imported; therefore, this module imports neither TensorFlow nor Keras.
"""

import shutil
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tinyunet.core.documents.records import RecordsManifest, Shard
from tinyunet.core.errors import UserError
from tinyunet.core.files import file_sha256
from tinyunet.core.locks import exclusive_lock
from tinyunet.data.records.index import index_path
from tinyunet.storage import s3
from tinyunet.storage.transfer import Transfer, run_concurrently
from tinyunet.training.distributed import launched_local_rank
from tinyunet.training.run import TrainingRun
from tinyunet.training.verification import SPLITS, Preparation, RecordsVerification, holds_records

END_S = 10.0  # that a cancelled download may take to end
DOWNLOADS = 3  # attempts to download a shard whose SHA-256 differs from the manifest


def early_preparation(run: TrainingRun) -> AbstractContextManager[Preparation | None]:
    """Return what prepares the records, if this process can begin it before it has joined the other ranks.

    The first rank of a host downloads records on S3, and verifies those in a local folder. As a context
    manager, the preparation runs until the end of the block.
    """
    if launched_local_rank() == 0 and s3.is_remote(run.records):
        return RecordsDownload(run.records, scratch_folder(run))
    if launched_local_rank() == 0 and holds_records(Path(run.records)):
        return RecordsVerification(Path(run.records))
    return nullcontext()


def scratch_folder(run: TrainingRun) -> Path:
    """Return the temporary folder in which all ranks of a host find the records of a training."""
    return Path(tempfile.gettempdir()) / f"tinyunet-{run.run_key}-records"


class RecordsDownload(Preparation):
    """Downloads records to a folder in a thread: the manifest, then train, then validation.

    The images of a batch come from all shards of train. Therefore, the first step needs all of them. A lock
    prevents a second training of the same run key from using the folder. At the end of the block, the
    download is cancelled if it is still running, and the folder is deleted.

    Args:
        records: s3:// prefix written by `tinyunet convert`. Nothing is downloaded from another location.
        folder: The folder to write; an old folder of this name is deleted.
    """

    def __init__(self, records: str, folder: Path) -> None:
        super().__init__()
        self._records, self._folder = records.rstrip("/"), folder
        self._found: Future[bool] = Future()
        self._cancelled, self._resources = threading.Event(), ExitStack()
        # A request to a store that does not answer must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def found(self) -> bool:
        """Wait for the manifest; return whether the location holds records.

        Raises:
            UserError: if another training uses the folder, or the download failed.
        """
        return self._found.result()

    def __enter__(self) -> Self:
        """Start the download."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel the download and delete the folder."""
        self._cancelled.set()
        self._thread.join(END_S)
        self._resources.close()

    def _run(self) -> None:
        try:
            self._resources.enter_context(exclusive_lock(self._folder))
            self._resources.callback(shutil.rmtree, self._folder, ignore_errors=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._download()
        except Exception as error:  # it is raised in the thread that waits
            futures: list[Future[Any]] = [self._found, *self._splits.values()]
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    def _download(self) -> None:
        uri = f"{self._records}/{RecordsManifest.FILE}"
        found = s3.is_remote(uri) and s3.exists(uri)
        shards: dict[str, Sequence[Shard]] = dict.fromkeys(SPLITS, ())
        if found:
            s3.fetch(uri, self._folder / RecordsManifest.FILE)
            splits = RecordsManifest.read(self._folder).splits
            shards = {name: splits[name].shards for name in SPLITS}
        self._found.set_result(found)
        stored = set(s3.list_objects(self._records)) if found else set()
        total = sum(shard.bytes for split in shards.values() for shard in split)
        with Transfer(f"download {self._records}", total, self._cancelled) as transfer:
            for name, ready in self._splits.items():
                run_concurrently(lambda shard: self._fetch_shard(shard, stored, transfer), shards[name])
                ready.set_result(None)

    def _fetch_shard(self, shard: Shard, stored: set[str], transfer: Transfer) -> None:
        """Download a shard, and its index if there is one; without it, the shard would be scanned."""
        uri, path = f"{self._records}/{shard.file}", self._folder / shard.file
        index = index_path(path)
        if f"{self._records}/{index.name}" in stored:
            s3.fetch(f"{self._records}/{index.name}", index)
        for _ in range(DOWNLOADS):
            s3.fetch(uri, path, transfer=transfer)
            digest = file_sha256(path)
            if digest == shard.sha256:
                return
            path.unlink()
        raise UserError(
            f"{uri} has SHA-256 {digest[:12]}…, expected {shard.sha256[:12]}… of the manifest; "
            "convert and upload the records again"
        )
