"""What `convert` has seen of the images that it stores, for the manifest of the records."""

import numpy as np

from tinyunet.core.documents.records import GreyStatistics
from tinyunet.data.records.levels import count_levels, mean_and_deviation
from tinyunet.data.resize import Pixels


class Seen:
    """The sizes of images, how often every level occurs in train, and the defects that are faint.

    Attributes:
        shapes: Heights and widths of the images.
    """

    def __init__(self, bits: int) -> None:
        self.shapes: set[tuple[int, int]] = set()
        self._counts = np.zeros(1 << bits, np.int64)
        self._defective = 0
        self._faint: list[str] = []

    def add(self, split: str, image: Pixels) -> None:
        """Add an image: its size and, in train, its levels."""
        self.shapes.add((image.shape[0], image.shape[1]))
        if split == "train":
            self._counts += count_levels(image)

    def add_defect(self, name: str, *, faint: bool) -> None:
        """Add the name of an image with a defect, and whether the defect is faint, see `at_scale`."""
        self._defective += 1
        if faint:
            self._faint.append(name)

    def statistics(self) -> GreyStatistics:
        """Return mean and deviation of the levels in train."""
        mean, deviation = mean_and_deviation(self._counts)
        return GreyStatistics(mean=mean, deviation=deviation)

    def notes(self, scale: float) -> tuple[str, ...]:
        """Return what a reader of the results should know about defects at this scale."""
        if not self._faint:
            return ()
        return (
            f"scale is {scale:g}: in {len(self._faint)} of {self._defective} images with a defect (first: "
            f"{self._faint[0]}) it covers less than half of every pixel, and only the pixels that it covers "
            "most are labelled; use a larger scale",
        )
