"""Admit requests while there is room for them, so that the memory of the server is bounded."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from tinyunet.server.errors import RequestError

BODIES = 4  # so many bodies of the largest size are in memory at a time


class Admission:
    """What the requests in progress hold; all methods but the checks are used in the event loop only.

    Args:
        images: Largest number of images that are decoded, waiting or computed at a time.
        pixels: Largest number of pixels of an image, and of all these images.
        body: Largest number of bytes of a body; all bodies may hold BODIES times as many.
    """

    def __init__(self, images: int, pixels: int, body: int) -> None:
        self.max_images, self.max_pixels, self.max_body = images, pixels, body
        self.images, self.pixels, self.bytes = 0, 0, 0
        self._seconds = 0.1  # for an image, as measured by `measured`

    @contextmanager
    def hold_images(self, count: int, height: int, width: int) -> Iterator[None]:
        """Hold the room of images of one size.

        Raises:
            RequestError: 413 if they are too many or too large even for an idle server; 429 if there is no
                room for them now.
        """
        self.check_images(count, height, width)
        pixels = count * height * width
        if self.images + count > self.max_images or self.pixels + pixels > self.max_pixels:
            raise self._overloaded()
        self.images += count
        self.pixels += pixels
        try:
            yield
        finally:
            self.images -= count
            self.pixels -= pixels

    def check_images(self, count: int, height: int, width: int) -> None:
        """Raise a RequestError, 413, if images of one size are too many or too large for an idle server."""
        if count * height * width > self.max_pixels:
            raise RequestError(
                413,
                f"{count}×{height}×{width} pixels; expected at most {self.max_pixels} in all (--max-pixels)",
            )
        if count > self.max_images:
            raise RequestError(
                413, f"{count} images; expected at most {self.max_images} in one request (--queue)"
            )

    @contextmanager
    def hold_body(self) -> Iterator["Body"]:
        """Hold the room of a body while it is read and used."""
        body = Body(self)
        try:
            yield body
        finally:
            self.bytes -= body.size

    def check_body(self, size: int) -> None:
        """Raise a RequestError, 413, if a body of `size` bytes is too large."""
        if size > self.max_body:
            raise RequestError(
                413, f"a body of {size} bytes or more; expected at most {self.max_body} (--max-bytes)"
            )

    def measured(self, seconds: float) -> None:
        """Take the time of one image into account for Retry-After."""
        self._seconds += 0.2 * (seconds - self._seconds)

    def _overloaded(self) -> RequestError:
        after = max(1, min(60, math.ceil(self._seconds * self.images)))
        return RequestError(429, f"{self.images} images are in progress; try again in {after} s", after)


class Body:
    """The room of one body.

    Attributes:
        size: Bytes that it holds.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size = 0

    def grow(self, size: int) -> None:
        """Hold room for `size` bytes in all.

        Raises:
            RequestError: 413 if the body is too large; 429 if all bodies are too large at the moment.
        """
        admission = self._admission
        admission.check_body(size)
        more = max(0, size - self.size)
        if admission.bytes + more > BODIES * admission.max_body:
            raise RequestError(
                429, f"{admission.bytes} bytes of requests are in progress; try again in 1 s", 1
            )
        admission.bytes += more
        self.size += more
