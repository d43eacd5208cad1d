"""Import TensorFlow without its start-up lines, which no setting turns off and every rank repeats."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Import TensorFlow with this process's standard error closed; an exception still gets through."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _no_standard_error():
        import tensorflow  # noqa: F401


@contextmanager
def _no_standard_error() -> Iterator[None]:
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
