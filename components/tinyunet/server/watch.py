"""What is done with answered images beside the answer: compare them with the reference, and keep some.

A thread of its own computes; what it cannot take is dropped and counted, so that no request waits.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.data.resize import input_shape
from tinyunet.engine import statistics
from tinyunet.engine.network import INT8
from tinyunet.server.metrics import Metrics
from tinyunet.server.watching.background import Background
from tinyunet.server.watching.drift import Drift, drifting
from tinyunet.server.watching.review import Candidate, Review
from tinyunet.server.watching.store import parse_keep

if TYPE_CHECKING:
    from tinyunet.engine.engine import Inspection

LOG = logging.getLogger("tinyunet.server")
WAITING_BYTES = 64 * 2**20
END = 0.8  # score below which drift has ended


@dataclass(frozen=True, eq=False)
class _Model:
    """The model that answers, and its drift; None without a reference."""

    document: ServedModel
    title: str
    drift: Drift | None


@dataclass(frozen=True, eq=False)
class _Answered:
    model: _Model
    image: NDArray[Any]
    inspection: "Inspection"
    name: str


class Watch:
    """Watches the answers of a server; its methods may be called from any thread."""

    def __init__(self, metrics: Metrics, keep: str = "") -> None:
        """Begin without a model.

        Args:
            metrics: Gets the scores of drift and the numbers of kept images.
            keep: Where images are kept, see `watching.store.parse_keep`; empty to keep none.

        Raises:
            UserError: if `keep` is not of this form.
        """
        self._metrics = metrics
        self._review = Review(*parse_keep(keep), metrics) if keep else None
        self._model: _Model | None = None
        self._drifting: list[str] = []
        self._thread = Background[_Answered]("watch", self._look, limit=WAITING_BYTES)

    def follow(
        self, folder: Path, document: ServedModel, name: str, version: str, *, precision: str = "float32"
    ) -> None:
        """Compare with the reference of another model from now on; the window begins empty.

        Args:
            folder: Engine folder of the model; without reference.json in it there is no drift.
            document: The model's description.
            name: Name of the model.
            version: Version of the model.
            precision: Of its computation.
        """
        drift = None
        try:
            drift = _read_drift(folder, document, precision)
        except (UserError, OSError) as error:
            LOG.warning("no drift is computed: %s", error)
        self._metrics.drift(drift.scores() if drift is not None else {}, 0)
        self._model, self._drifting = _Model(document, f"{name} {version}".strip(), drift), []

    def answered(self, image: NDArray[Any], inspection: "Inspection", *, name: str = "") -> None:
        """Watch an answered image; return at once.

        Args:
            image: uint8 or uint16 [H, W, C]; nobody may change it later.
            inspection: The answer.
            name: File name of the image, for the reviewer.
        """
        model = self._model
        if model is None or (model.drift is None and self._review is None):
            return
        probability = inspection.probability
        size = image.nbytes + inspection.mask.nbytes + (probability.nbytes if probability is not None else 0)
        if not self._thread.put(_Answered(model, image, inspection, name), size):
            self._metrics.unwatched()

    def wait(self, seconds: float) -> bool:
        """Wait until all answered images are watched and kept; return False if that takes longer."""
        return self._thread.wait(seconds) and (self._review is None or self._review.wait(seconds))

    def close(self) -> None:
        """End the threads; what waits is done, at most for a few seconds."""
        self._thread.close()
        if self._review:
            self._review.close()

    def _look(self, answered: _Answered) -> None:
        model, inspection = answered.model, answered.inspection
        causes = self._compare(model, answered) if model.drift is not None else []
        if self._review:
            self._review.offer(
                Candidate(
                    image=answered.image,
                    mask=inspection.mask,
                    name=answered.name,
                    score=inspection.score,
                    threshold=model.document.image_threshold,
                    defective=inspection.defective,
                    causes=tuple(causes),
                    model=model.title,
                )
            )

    def _compare(self, model: _Model, answered: _Answered) -> list[str]:
        """Add an image to the window; return the causes of drift that it shows."""
        assert model.drift is not None
        inspection = answered.inspection
        document, image = model.document, answered.image
        size = input_shape(image.shape, document.scale, document.image_size)
        values = statistics.measure(image, size)
        outside = model.drift.add(values, inspection.score, defective=inspection.defective)
        scores = model.drift.scores()
        found = drifting(scores)
        if model is self._model:
            self._metrics.drift(scores, model.drift.images)
            self._log(scores)
        return [cause for cause in found if cause in outside]

    def _log(self, scores: Mapping[str, float]) -> None:
        """Log the causes of drift that begin and end; one ends well below the threshold, not to flicker."""
        before = self._drifting
        now = [cause for cause, score in scores.items() if score >= (END if cause in before else 1)]
        if begun := [cause for cause in now if cause not in before]:
            LOG.warning(
                "drift: %s of the last images differs from the validation images", " and ".join(begun)
            )
        if ended := [cause for cause in before if cause not in now]:
            LOG.info("no more drift: %s", " and ".join(ended))
        self._drifting = now


def _read_drift(folder: Path, document: ServedModel, precision: str) -> Drift:
    """Return the drift against the reference of an engine folder.

    Raises:
        UserError: if there is none, as of older models, or it is not valid or of another model.
    """
    reference = ImageReference.read(folder)
    known, expected = tuple(reference.statistics), statistics.names(document.channels)
    if known != expected or reference.image_size != document.image_size:
        raise UserError(
            f"{folder / reference.FILE} has other statistics than this program; {reference.REMEDY}"
        )
    if precision == INT8 and reference.int8_scores:
        reference = reference.model_copy(update={"scores": reference.int8_scores})
    return Drift(reference)
