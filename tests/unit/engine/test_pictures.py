"""Image files as the input of the engine."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.engine.pictures import decode


@pytest.fixture
def document(engine_folder: Path) -> ServedModel:
    return ServedModel.read(engine_folder)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


def test_grey_and_colour_become_what_the_model_takes(document: ServedModel) -> None:
    colour = np.zeros((4, 5, 3), np.uint8)
    colour[..., 1] = 200
    grey = decode(encoded(colour), document)
    assert (grey.shape, grey.dtype, int(grey[0, 0, 0])) == ((4, 5, 1), np.uint8, 117)
    of_colour = document.model_copy(update={"channels": 3})
    assert decode(encoded(colour, "BMP"), of_colour)[0, 0].tolist() == [0, 200, 0]
    assert decode(encoded(colour[..., 1]), of_colour)[0, 0].tolist() == [200, 200, 200]


def test_the_exif_rotation_is_applied_and_alpha_dropped_as_by_ingest(document: ServedModel) -> None:
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5) * 12
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned = decode(encoded(pixels, exif=exif), document)
    np.testing.assert_array_equal(turned[..., 0], np.rot90(pixels, -1))
    with_alpha = np.dstack([pixels, np.full_like(pixels, 9)])
    np.testing.assert_array_equal(decode(encoded(with_alpha), document)[..., 0], pixels)


def test_other_bits_than_those_of_the_training_are_refused(document: ServedModel) -> None:
    wide = encoded(np.full((4, 5), 4000, np.uint16))
    with pytest.raises(UserError, match=r"^is 16-bit grey, but the model was trained on images of 8 bits$"):
        decode(wide, document)
    of_16_bits = document.model_copy(update={"bits": 16})
    assert int(decode(wide, of_16_bits)[0, 0, 0]) == 4000


def test_data_that_are_no_image_are_refused(document: ServedModel) -> None:
    with pytest.raises(UserError, match=r"^is not a PNG"):
        decode(b"no image", document)
