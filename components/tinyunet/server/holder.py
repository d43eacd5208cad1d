"""Hold the model that the server answers with, and the one before it."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyunet.engine.engine import Engine


@dataclass(frozen=True, eq=False)
class Served:
    """A model that is loaded and checked.

    Attributes:
        engine: Computes its answers.
        name: Name of the registered model, or of the model's folder.
        version: Version of the registered model; of a folder, the first digits of its weights' digest.
    """

    engine: "Engine"
    name: str
    version: str


class CurrentModel:
    """The active model of a server and its predecessor; all methods may be called from any thread.

    A request reads `active` once and computes its whole answer with that object. A swap therefore does not
    change the answers of the requests that have begun, and every answer can name its version.
    """

    def __init__(self, served: Served) -> None:
        self._lock = threading.Lock()
        self._active = served
        self._previous: Served | None = None

    @property
    def active(self) -> Served:
        """The model that new requests use."""
        with self._lock:
            return self._active

    @property
    def previous(self) -> Served | None:
        """The model that the last swap replaced; None before the first swap."""
        with self._lock:
            return self._previous

    def swap(self, engine: "Engine", version: str) -> Served:
        """Make another version of the same model active, and keep the present one as `previous`.

        Args:
            engine: Is loaded, has passed its self-check, and has computed once.
            version: As in `Served`.

        Returns:
            The model that is active now.
        """
        with self._lock:
            served = Served(engine, self._active.name, version)
            self._previous, self._active = self._active, served
            return served

    def find(self, name: str, version: str = "") -> Served | None:
        """Return the active model, or the previous one if `version` is its version.

        Args:
            name: Name of a model.
            version: Version of the model; the empty string is the active one.

        Returns:
            None if neither has this name and version.
        """
        for served in (self.active, self.previous):
            if served and served.name == name and version in ("", served.version):
                return served
        return None
