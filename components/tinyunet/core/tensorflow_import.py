"""Import TensorFlow without its start-up messages, which no setting turns off."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Import TensorFlow while this process's standard error is discarded; exceptions are still raised."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _discard_standard_error():
        import tensorflow  # noqa: F401


@contextmanager
def _discard_standard_error() -> Iterator[None]:
    original, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null)
