"""The images or the masks of a split as a sequence whose items are read from the records when needed."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyunet.data.records.reader import ALL_ROWS
from tinyunet.data.resize import Pixels


class ImageSequence(Protocol):
    """What an array [N, H, W] or [N, H, W, 3] and `StoredImages` have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of the images and, if all images have the same, their shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...  # noqa: ANN401  as an array

    def __iter__(self) -> Iterator[Any]: ...


class StoredImages:
    """The images, or the masks, of a split in its records.

    `images[3]` is one image. A slice, a list or an array of indices gives an array of images if all have the
    same size by contract (`stacked`), else a sequence of the chosen images, which reads them when they are
    needed.

    Args:
        read: Returns some rows of an image by its number, as `RecordReader.image` does.
        indices: int64 [N], the numbers of the images.
        shape: Shape of every image; None if the images may differ in size.
        dtype: Type of the pixels.
    """

    def __init__(
        self,
        read: Callable[[int, slice], Pixels],
        indices: NDArray[np.int64],
        *,
        shape: tuple[int, ...] | None,
        dtype: DTypeLike,
    ) -> None:
        self._read, self._indices, self._shape = read, indices, shape
        self.dtype = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of the images and, if all images have the same by contract, their shape."""
        return (len(self), *(self._shape or ()))

    @property
    def ndim(self) -> int:
        """Number of axes of `shape`."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Pixels]:
        return (self._read(int(index), ALL_ROWS) for index in self._indices)

    def __getitem__(self, key: Any, /) -> Any:  # noqa: ANN401  as an array
        if isinstance(key, int | np.integer):
            return self._read(int(self._indices[key]), ALL_ROWS)
        if isinstance(key, tuple):  # several axes, such as `images[..., None]`
            return np.asarray(self)[key]
        subset = StoredImages(self._read, self._indices[key], shape=self._shape, dtype=self.dtype)
        return subset if self._shape is None else np.asarray(subset)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all images in one array, which must have the same size.

        Raises:
            ValueError: if the images differ in size.
        """
        if self._shape is None:
            return np.stack(list(self)).astype(dtype or self.dtype, copy=False)
        array = np.empty(self.shape, dtype or self.dtype)
        for slot, image in zip(array, self, strict=True):
            slot[...] = image
        return array

    def rows(self, index: int, rows: slice) -> Pixels:
        """Return some rows of one image; the other rows are not read."""
        return self._read(int(self._indices[index]), rows)
