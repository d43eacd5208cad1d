"""Trainings of a study in this process, without graphs."""

import pytest

from tinyunet.core.documents.model import ModelDocument
from tinyunet.tracking.tracker import NullTracker
from tinyunet.training.distributed import World
from tinyunet.training.loop import train
from tinyunet.training.run import TrainingRun


@pytest.fixture
def trainings_here(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace only the start of a process by `launch_local`, which tests/pipeline covers."""

    def train_here(run: TrainingRun) -> ModelDocument:
        return train(run, World(), NullTracker())

    for name in ("ablation", "review"):
        monkeypatch.setattr(f"tinyunet.studies.{name}.launch_local", train_here)
