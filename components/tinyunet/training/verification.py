"""The verification of the records of a training in a local folder, in the background.

It starts before TensorFlow is imported; therefore, this module imports neither TensorFlow nor Keras.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from tinyunet.core.console import cores
from tinyunet.core.documents.records import RecordsManifest, Shard
from tinyunet.data.records.index import check_shard

SPLITS = ("train", "validation")  # in the order of their use; a training does not read the test split


def holds_records(folder: Path) -> bool:
    """Return whether a local folder holds records, and not images."""
    return (folder / RecordsManifest.FILE).is_file() and not (folder / "Train").is_dir()


class Preparation:
    """Prepares the splits of a training in threads."""

    def __init__(self) -> None:
        self._splits: dict[str, Future[None]] = {name: Future() for name in SPLITS}

    def wait(self, split: str) -> None:
        """Wait until a split is in the local folder and its SHA-256 is verified.

        Raises:
            UserError: if the preparation failed: the manifest or a shard is missing or damaged.
        """
        self._splits[split].result()

    def check(self) -> None:
        """Raise the error of the preparation, if it has failed; wait for nothing."""
        for ready in self._splits.values():
            if ready.done():
                ready.result()


class RecordsVerification(Preparation):
    """Compares the SHA-256 of every shard with the manifest in threads: train, then validation.

    At the end of the block, a comparison that still runs is cancelled.

    Args:
        folder: Folder that `convert` wrote.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._cancelled = folder, threading.Event()
        self._pool = ThreadPoolExecutor(1, "verification")

    def __enter__(self) -> Self:
        """Start the verification."""
        self._splits = {name: self._pool.submit(self._verify, name) for name in SPLITS}
        return self

    def __exit__(self, *error: object) -> None:
        """Cancel the verification."""
        self._cancelled.set()
        self._pool.shutdown()

    def _verify(self, split: str) -> None:
        shards = RecordsManifest.read(self._folder).splits[split].shards
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(self._check_shard, shards))

    def _check_shard(self, shard: Shard) -> None:
        check_shard(self._folder, shard, verify=True, cancelled=self._cancelled)
