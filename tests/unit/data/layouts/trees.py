"""Small sources for the tests of layouts."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tinyunet.data.layouts.base import Listing
from tinyunet.data.sources.trees import FolderTree


def picture(value: int = 0, size: tuple[int, int] = (6, 4), form: str = "PNG") -> bytes:
    """Return a grey picture of one value; size is (width, height)."""
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, form)
    return buffer.getvalue()


def tree_of(folder: Path, *names: str, **texts: str | bytes) -> FolderTree:
    """Write pictures and texts to a folder.

    Args:
        folder: The folder.
        names: Names of pictures, several in one string, separated by spaces.
        texts: Contents by name; `__` stands for `/` and the last `_` for the dot before the extension.
    """
    files: dict[str, bytes] = {name: picture() for text in names for name in text.split()}
    for key, text in texts.items():
        name = ".".join(key.replace("__", "/").rsplit("_", 1))
        files[name] = text.encode() if isinstance(text, str) else text
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return FolderTree(folder, "parts")


def pairs_of(listing: Listing) -> dict[str, str | None]:
    """Return the masks by the images of a listing."""
    return {sample.image.name: sample.mask.name if sample.mask else None for sample in listing.samples}


def mask_of(listing: Listing, name: str) -> np.ndarray:
    """Return the mask of a sample as it is in its file, [H, W]."""
    mask = next(sample.mask for sample in listing.samples if sample.name == name)
    assert mask is not None
    with Image.open(io.BytesIO(mask.read())) as image:
        assert image.mode == "P"
        return np.asarray(image)
