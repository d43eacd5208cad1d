"""The reference of a model's images as a file."""

from pathlib import Path

import pytest

from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.errors import UserError

REFERENCE = ImageReference(
    image_size=64,
    channels=1,
    images=2,
    defective=(False, True),
    scores=(-1.5, 2.25),
    statistics={"brightness": (0.5, 0.25)},
)


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    REFERENCE.write(tmp_path)
    assert ImageReference.read(tmp_path) == REFERENCE


def test_lists_of_different_lengths_are_an_error(tmp_path: Path) -> None:
    text = REFERENCE.text().replace("[0.5, 0.25]", "[0.5]")
    with pytest.raises(
        UserError, match=r"reference.json: has lists of 1 to 2 images; .*; evaluate the model again"
    ):
        ImageReference.parse(text.encode(), "reference.json")
