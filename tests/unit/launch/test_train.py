"""Training from Python."""

from pathlib import Path

import pytest

import tinyunet
from tinyunet.core.config import TrainConfig
from tinyunet.launch.local_ranks import TrainingFailed
from tinyunet.training.model_folder import finished_model


def test_a_training_writes_a_model_folder_and_returns_its_description(records: Path, tmp_path: Path) -> None:
    config = TrainConfig(image_size=32, steps=2, global_batch=4, precision="float32", validate_every=0)
    document = tinyunet.train(records, tmp_path / "model", config)
    assert (document.steps, document.image_size, document.world_size) == (2, 32, 1)
    assert finished_model(str(tmp_path / "model")) == document


def test_refused_input_is_an_exception_with_exit_code_2(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed) as caught:
        tinyunet.train(tmp_path / "absent", tmp_path / "model")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "model").exists()
