"""The command `train` before its first step."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinyunet.cli import training
from tinyunet.cli.main import main
from tinyunet.core.errors import UserError
from tinyunet.training import download


def test_sigterm_before_the_first_step_deletes_the_temporary_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    @contextmanager
    def preparation(_: object) -> Iterator[None]:
        try:
            yield
        finally:
            ended.append("preparation")

    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise UserError("SIGTERM did not end the command")

    monkeypatch.setattr(download, "early_preparation", preparation)
    monkeypatch.setattr(training, "import_tensorflow", terminate)
    stop = signal.getsignal(signal.SIGUSR2)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(SystemExit) as end:
            main(["train", "records", "--out", str(tmp_path / "model")])
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGUSR2, stop)
    assert end.value.code == 128 + signal.SIGTERM
    assert ended == ["preparation"]
