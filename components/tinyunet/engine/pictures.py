"""Image files as the input of the engine."""

from typing import Any

from numpy.typing import NDArray

from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.data.pictures.decode import read_picture, to_channels


def decode(data: bytes, document: ServedModel) -> NDArray[Any]:
    """Decode an image file of any kind that `ingest` takes; colour and grey become what the model takes.

    Args:
        data: The file.
        document: The model.

    Returns:
        uint8 or uint16 [H, W, C].

    Raises:
        UserError: if the file is no image, or has another number of bits than the images of the training. The
            message is a sentence without a subject, the file.
    """
    picture = read_picture(data)
    if picture.pixels.dtype.itemsize * 8 != document.bits:
        raise UserError(f"is {picture.kind}, but the model was trained on images of {document.bits} bits")
    pixels = to_channels(picture.pixels, document.channels)
    return pixels if document.channels == 3 else pixels[..., None]
