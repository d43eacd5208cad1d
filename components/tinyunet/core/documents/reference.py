"""What the images of a model look like: reference.json in the folders of evaluations and engines."""

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import model_validator

from tinyunet.core.documents.base import Document, JsonList
from tinyunet.core.errors import UserError

MOST_IMAGES = 128
"""Images that a reference holds at most: more would hardly make the comparison with 50 images sharper."""


class ImageReference(Document):
    """Statistics and scores of validation images, with which a server compares the images that it gets.

    Attributes:
        weights_digest: SHA-256 over the weights of the model that gave the scores; empty if it is unknown.
        image_size: Side in pixels to which the images were resized; 0 if they were not.
        channels: 1 for grey images, 3 for colour images.
        images: Number of validation images; at most MOST_IMAGES of them are in the lists.
        defective: Verdict of the model on each image in the lists.
        scores: Score of each image, a logit.
        int8_scores: Score of each image in int8; empty if the model has no int8 network.
        statistics: Values of each image by the name of the statistic; see `engine.statistics`.
    """

    FILE: ClassVar[str] = "reference.json"
    MADE_BY: ClassVar[str] = "tinyunet evaluate"
    REMEDY: ClassVar[str] = "evaluate the model again"
    INDENT: ClassVar[int | None] = None

    weights_digest: str = ""
    image_size: int
    channels: int
    images: int
    defective: JsonList[bool]
    scores: JsonList[float]
    int8_scores: JsonList[float] = ()
    statistics: dict[str, JsonList[float]]

    def of_images(self, positions: Sequence[int]) -> Self:
        """Return the reference of some images of the lists, without scores in int8."""
        return self.model_copy(
            update={
                "defective": tuple(self.defective[i] for i in positions),
                "scores": tuple(self.scores[i] for i in positions),
                "int8_scores": (),
                "statistics": {
                    name: tuple(values[i] for i in positions) for name, values in self.statistics.items()
                },
            }
        )

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        lists = (self.defective, self.scores, self.int8_scores or self.scores, *self.statistics.values())
        lengths = set(map(len, lists))
        if len(lengths) > 1:
            raise UserError(f"has lists of {min(lengths)} to {max(lengths)} images; expected one length")
        return self
