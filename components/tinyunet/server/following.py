"""Load the model of a server, and follow its alias: take a new version if it passes its self-check.

A thread asks MLflow for the version of the alias. A new version is downloaded, verified by its SHA-256 and
loaded, and must give the registered answer to its registered example. Only then does it become the active
model; requests that have begun end with the one before it. Nothing that fails here changes the active model.
"""

import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path

from tinyunet.core.errors import UserError
from tinyunet.engine.engine import Engine
from tinyunet.server.holder import CurrentModel, Served
from tinyunet.server.last_good import LastGood, recall, remember
from tinyunet.serving.find import find_engine
from tinyunet.serving.registered import MLFLOW_SCHEMES, RegisteredModel, database_state, resolve, split_alias

LOG = logging.getLogger("tinyunet.server")
POLL_S = 30.0
JITTER = 0.2  # part of the interval: the replicas of a server do not ask at the same moment


def registered_name(model: str) -> str | None:
    """Return NAME of models:/NAME@ALIAS; None for any other model, which never changes."""
    found = split_alias(model)
    return found[0] if found else None


def pinned(model: str, version: str) -> str:
    """Return the URI of one version of a registered model, which a server does not follow.

    Args:
        model: models:/NAME@ALIAS.
        version: Number of the version.

    Raises:
        UserError: if the model has no alias, or this is no number.
    """
    name = registered_name(model)
    if name is None or not version.isdecimal():
        raise UserError(
            f"--version is {version!r} and the model is {model!r}; expected a number and models:/NAME@ALIAS"
        )
    return f"models:/{name}/{version}"


def load(folder: Path, precision: str = "auto") -> Engine:
    """Load an engine folder; the self-check is also its first computation, which prepares the network.

    Raises:
        UserError: if the folder is not usable, or the model does not give the answer of its example.
    """
    try:
        engine = Engine(folder, precision=precision)
        engine.check()
    except UserError:
        raise
    except Exception as error:  # of the runtime, about a file that is no network
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder} cannot be loaded ({type(error).__name__}: {reason}); register it again"
        ) from error
    return engine


def load_first(model: str, *, precision: str = "auto", cache: Path | None = None) -> tuple[Served, Path]:
    """Load the model of a server that starts: from MLflow, or the last one that this machine took.

    Args:
        model: As for `find_engine`.
        precision: As for `Engine`.
        cache: As for `find_engine`.

    Returns:
        The model, and its engine folder.

    Raises:
        UserError: if there is no such model and this machine never took one.
    """
    remote = model.startswith(MLFLOW_SCHEMES)
    try:
        found = find_engine(model, cache=cache)
        served = Served(load(found.folder, precision), found.name, found.version)
    except UserError as error:
        last = recall(model, cache=cache) if remote else None
        if last is None:
            raise
        served = Served(load(last.folder, precision), last.name, last.version)
        LOG.warning("%s; version %s of %s from the local cache is served", error, last.version, last.name)
        return served, last.folder
    if remote:
        remember(model, LastGood(found.folder, found.name, found.version), cache=cache)
    return served, found.folder


class Follower:
    """Follows an alias in a thread of its own.

    Args:
        model: models:/NAME@ALIAS.
        current: The model of the server, which this object changes.
        poll_s: Seconds between two questions to MLflow, on average.
        precision: As for `Engine`.
        cache: As for `find_engine`.
        swapped: Is called with the new model and its engine folder after a change.
        refused: Is called after a version was refused.
        failed: Is called when the alias or the files of a version cannot be read; the next look tries again.
    """

    def __init__(
        self,
        model: str,
        current: CurrentModel,
        *,
        poll_s: float = POLL_S,
        precision: str = "auto",
        cache: Path | None = None,
        swapped: Callable[[Served, Path], None] = lambda served, folder: None,
        refused: Callable[[], None] = lambda: None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        name = registered_name(model)
        if name is None:
            raise UserError(f"{model!r} has no alias to follow; expected models:/NAME@champion")
        self._model, self._name, self._current = model, name, current
        self._poll_s, self._precision, self._cache = poll_s, precision, cache
        self._swapped, self._on_refused, self._on_failed = swapped, refused, failed
        self._refused: set[str] = set()
        self._seen: RegisteredModel | None = None
        self._failing = ""  # what fails now: `the alias` or a version; empty if all is well
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; a download or a load that has begun may still take its time."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(self._poll_s * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311
            try:
                self.look()
            except Exception:  # the thread must go on whatever happens
                LOG.exception("following %s failed; the next attempt is in %.0f s", self._model, self._poll_s)

    def look(self) -> None:
        """Ask for the version of the alias once, and take it if it is new; failures are logged once."""
        step = "the alias"
        try:
            version = self._version()
            if self._is_new(version):
                step = f"version {version}"
                self._take()
        except (UserError, OSError) as error:
            self._on_failed()
            self._report_failure(step, error)
        else:
            self._report_recovery()

    def _version(self) -> str:
        """Return the number of the version with the alias; a database that has not changed is not read."""
        state = database_state()
        if self._seen is None or not state or state != self._seen.state:
            self._seen = resolve(self._model)
        return self._seen.version

    def _is_new(self, version: str) -> bool:
        return version != self._current.active.version and version not in self._refused

    def _take(self) -> None:
        """Take the version that has the alias; it may have moved since the last question."""
        found = find_engine(self._model, cache=self._cache)
        version, before = found.version, self._current.active.version
        if not self._is_new(version):
            return
        try:
            engine = load(found.folder, self._precision)
        except UserError as error:
            self._refused.add(version)
            LOG.error("version %s of %s is refused, version %s stays: %s", version, self._name, before, error)
            self._on_refused()
            return
        served = self._current.swap(engine, version)
        remember(self._model, LastGood(found.folder, served.name, version), cache=self._cache)
        LOG.info(
            "version %s of %s replaces version %s; it computes in %s",
            version,
            served.name,
            before,
            engine.precision,
        )
        self._swapped(served, found.folder)

    def _report_failure(self, step: str, error: Exception) -> None:
        if step != self._failing:
            self._failing = step
            active = self._current.active.version
            LOG.warning("%s of %s cannot be read, version %s stays: %s", step, self._model, active, error)

    def _report_recovery(self) -> None:
        if self._failing:
            self._failing = ""
            LOG.info("%s can be read again; version %s is active", self._model, self._current.active.version)
