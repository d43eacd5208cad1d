"""The parts of the time until the first step of a training."""

import json
import subprocess
from pathlib import Path

import pytest

from tinyunet.bench.config import BenchConfig
from tinyunet.bench.documents import StartTimes


def test_the_parts_of_a_real_start_are_measured(python: str, records: Path, tmp_path: Path) -> None:
    config = json.dumps(BenchConfig(image_size=32).to_dict())
    command = [python, "-m", "tinyunet.bench.start", config, str(records), str(tmp_path / "model")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    times = StartTimes.model_validate_json(done.stdout.splitlines()[-1])
    assert all(value >= 0 for _, value in times)
    assert times.first_step > times.second_step > 0, "the first step is traced, too"
    assert times.to_first_step == pytest.approx(sum(value for _, value in times) - times.second_step)
