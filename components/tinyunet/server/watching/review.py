"""Keep the images whose verdict is least certain, and those that drifted, for correction by a person.

    images/KEY.png      the image, as the network got it
    masks/KEY.png       the predicted mask, black and white; all black for a clean image
    records/KEY.json    name, score, threshold, verdict, reason, model version and time
    review.csv          the records as a table, for a reader

`ingest` reads this as the layout `pairs`. KEY is the start of the SHA-256 of the pixels, so an image is kept
once. The files of an image are deleted when enough others are less certain, unless its mask was corrected.
The records are the state: a server that starts again, or another one, continues with them. A record is
written before its files, and an image without all of its files is deleted at the start.
"""

import csv
import hashlib
import io
import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.pictures.decode import encode_png
from tinyunet.server.metrics import REASONS, Metrics
from tinyunet.server.watching.background import Background
from tinyunet.server.watching.store import ReviewStore

LOG = logging.getLogger("tinyunet.server")
WAITING_BYTES = 64 * 2**20
TABLE = "review.csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute a text that begins so
UNCERTAIN, DRIFTED = REASONS


@dataclass(frozen=True)
class Record:
    """Why an image is kept.

    Attributes:
        key: Name of its files.
        name: Name of the file that was inspected; empty if it had none.
        score: Image-level score, a logit.
        threshold: Score above which an image is defective.
        defective: The verdict.
        reason: `uncertain` or `drifted`.
        causes: Causes of the drift, such as `brightness`.
        model: Name and version of the model.
        kept_at: Time in UTC.
        mask_sha256: SHA-256 of the predicted mask; a corrected mask has another one.
    """

    key: str
    name: str
    score: float
    threshold: float
    defective: bool
    reason: str
    causes: str
    model: str
    kept_at: str
    mask_sha256: str

    @property
    def margin(self) -> float:
        """Return the distance of the score from the threshold: small is uncertain."""
        return abs(self.score - self.threshold)

    @property
    def files(self) -> tuple[str, str, str]:
        """Return the names of image, mask and record."""
        return f"images/{self.key}.png", f"masks/{self.key}.png", f"records/{self.key}.json"


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image that may be kept; the fields are those of `Record`.

    Attributes:
        image: uint8 or uint16 [H, W, C].
        mask: bool [H, W], predicted.
        causes: Causes of drift in which the image lies outside the reference; empty without drift.
    """

    image: NDArray[Any]
    mask: NDArray[np.bool_]
    name: str
    score: float
    threshold: float
    defective: bool
    causes: tuple[str, ...]
    model: str

    @property
    def margin(self) -> float:
        """Return the distance of the score from the threshold."""
        return abs(self.score - self.threshold)


class Review:
    """Keeps images in a store, in a thread of its own."""

    def __init__(self, store: ReviewStore, limit: int, metrics: Metrics) -> None:
        """Begin; what the store holds is read before the first image is kept.

        Args:
            store: Where the images are kept.
            limit: Largest number of uncertain images, and of drifted ones.
            metrics: Gets the numbers of kept images.
        """
        self._store, self._limit, self._metrics = store, limit, metrics
        self._records: dict[str, Record] | None = None
        self._worst, self._full = np.inf, False
        self._thread = Background[Candidate]("review", self._keep, limit=WAITING_BYTES)

    def offer(self, candidate: Candidate) -> None:
        """Keep an image if it is uncertain enough or drifted; return at once."""
        wanted = candidate.margin < self._worst or bool(candidate.causes and not self._full)
        if wanted and not self._thread.put(candidate, candidate.image.nbytes + candidate.mask.nbytes):
            self._metrics.keep_failed()

    def wait(self, seconds: float) -> bool:
        """Wait until all offered images are kept; return False if that takes longer."""
        return self._thread.wait(seconds)

    def close(self) -> None:
        """Write what waits, at most for a few seconds."""
        self._thread.close()

    def _keep(self, candidate: Candidate) -> None:
        try:
            if self._records is None:
                self._records = _read(self._store)
                self._report()
            reason = self._reason(candidate)
            key = hashlib.sha256(f"{candidate.image.shape}".encode() + candidate.image.tobytes()).hexdigest()[
                :16
            ]
            if reason and key not in self._records and not self._is_stored(key):
                self._write(candidate, key, reason)
        except Exception:
            self._metrics.keep_failed()
            raise

    def _is_stored(self, key: str) -> bool:
        """Return whether the mask is there, of another server or corrected: it must not be written again."""
        return f"masks/{key}.png" in self._store.names()

    def _reason(self, candidate: Candidate) -> str:
        if candidate.causes and len(self._of(DRIFTED)) < self._limit:
            return DRIFTED
        return UNCERTAIN if candidate.margin < self._worst else ""

    def _write(self, candidate: Candidate, key: str, reason: str) -> None:
        assert self._records is not None
        mask = _encode_mask(candidate.mask)
        record = Record(
            key=key,
            name=candidate.name,
            score=round(candidate.score, 4),
            threshold=round(candidate.threshold, 4),
            defective=candidate.defective,
            reason=reason,
            causes=" ".join(candidate.causes) if reason == DRIFTED else "",
            model=candidate.model,
            kept_at=datetime.now(UTC).isoformat(timespec="seconds"),
            mask_sha256=hashlib.sha256(mask).hexdigest(),
        )
        pixels = candidate.image[..., 0] if candidate.image.shape[2] == 1 else candidate.image
        contents = (encode_png(pixels), mask, json.dumps(asdict(record), indent=1).encode())
        for name, data in reversed(list(zip(record.files, contents, strict=True))):
            self._store.write(name, data)
        self._records[key] = record
        self._shrink()
        self._store.write(TABLE, _table(self._records.values()))
        self._report()

    def _shrink(self) -> None:
        """Delete the most certain images beyond the limit; corrected ones stay, and are counted no more."""
        assert self._records is not None
        uncertain = sorted(self._of(UNCERTAIN), key=lambda record: record.margin)
        for record in uncertain[self._limit :]:
            if not self._corrected(record):
                for name in record.files:
                    self._store.remove(name)
            del self._records[record.key]

    def _corrected(self, record: Record) -> bool:
        names = self._store.names()
        mask = record.files[1]
        return mask in names and hashlib.sha256(self._store.read(mask)).hexdigest() != record.mask_sha256

    def _report(self) -> None:
        uncertain, drifted = self._of(UNCERTAIN), self._of(DRIFTED)
        full = len(uncertain) >= self._limit
        self._worst = max(record.margin for record in uncertain) if full else np.inf
        self._full = len(drifted) >= self._limit
        self._metrics.kept(UNCERTAIN, len(uncertain))
        self._metrics.kept(DRIFTED, len(drifted))

    def _of(self, reason: str) -> list[Record]:
        return [record for record in (self._records or {}).values() if record.reason == reason]


def _read(store: ReviewStore) -> dict[str, Record]:
    """Read the records of a store; delete the files of those that were not written completely."""
    names, records = store.names(), dict[str, Record]()
    for name in sorted(names):
        if not (name.startswith("records/") and name.endswith(".json")):
            continue
        record = None
        with suppress(ValueError, TypeError, KeyError, UserError):
            values = json.loads(store.read(name))
            record = Record(**{field.name: values[field.name] for field in fields(Record)})
        if record is None or record.files[2] != name:
            LOG.warning("%s of the kept images is not a record and is ignored", name)
        elif names >= set(record.files):
            records[record.key] = record
        else:
            for file in record.files:
                store.remove(file)
    return records


def _encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return a PNG of the indices 0 (black) and 1 (white): CVAT reads indices, people see black and white."""
    from PIL import Image

    picture, buffer = Image.fromarray(mask.view(np.uint8), "P"), io.BytesIO()
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _table(records: Iterable[Record]) -> bytes:
    """Return the records as CSV, the least certain first; no column is one of the layout `table`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Record)], lineterminator="\n")
    writer.writeheader()
    for record in sorted(records, key=lambda record: record.margin):
        row = asdict(record)
        if record.name.startswith(_FORMULA):
            row["name"] = f"'{record.name}"
        writer.writerow(row)
    return text.getvalue().encode()
