"""The progress of the tiles of one large image."""

import time

from tinyunet.core.console import INTERVAL_S, say
from tinyunet.model.tiles import count_tiles


class TileProgress:
    """Prints a line every few seconds; it is called after every tile.

    Args:
        name: What is predicted: the name of the image, or a description.
        shape: Shape of the image, [H, W, …].
    """

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self._name, self._total, self._done = name, count_tiles(shape), 0
        self._start = self._last_line = time.monotonic()

    def __call__(self) -> None:
        """Count a tile."""
        self._done += 1
        now = time.monotonic()
        if now - self._last_line >= INTERVAL_S and self._done < self._total:
            self._last_line = now
            remaining = (now - self._start) * (self._total - self._done) / self._done
            say(f"predicting {self._name}: {self._done}/{self._total} tiles, {remaining:.0f} s left")
