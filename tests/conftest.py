"""Fixtures that many tests share: one tiny synthetic class from raw images to a registered model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig

SIZE = 64
SOURCE = f"synthetic://?train=24&test=16&size={SIZE}&seed=7"


@dataclass(frozen=True)
class Services:
    """Running services: their folder, and the environment that leads to them."""

    folder: Path
    env: dict[str, str]


@dataclass(frozen=True)
class Registered:
    """A registered model: its folder, its evaluation, and what `register` returned."""

    model: Path
    evaluation: Path
    result: dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def _no_pod() -> Iterator[None]:
    """What runs here behaves as on any machine, also where that is a pod of Kubernetes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class 1 as `ingest` leaves it: Train 24 (8 defective), Test 16 (5 defective), 64×64."""
    from tinyunet.data.ingest import ingest

    out = tmp_path_factory.mktemp("data") / "raw"
    ingest(SOURCE, out, class_id=1)
    return out


@pytest.fixture(scope="session")
def records(raw: Path) -> Path:
    """The same after `convert`: train 21 (7 defective), validation 3 (1), test 16 (5); 2 shards each."""
    from tinyunet.data.tfrecord import convert

    out = raw.with_name("records")
    convert(raw, out, DataConfig(shards=2))
    return out


@pytest.fixture(scope="session")
def model(records: Path) -> Path:
    """A model folder as `train` leaves it, after 12 steps: it has learned little."""
    from tinyunet.tracking.tracker import NullTracker
    from tinyunet.training.distributed import World
    from tinyunet.training.loop import train
    from tinyunet.training.run import Job

    out = records.with_name("model")
    config = TrainConfig(image_size=SIZE, steps=12, global_batch=8, precision="float32", validate_every=6)
    train(Job(records, str(out), str(out) + ".checkpoints", config, World(), "fixture"), NullTracker())
    return out


@pytest.fixture(scope="session")
def evaluation(model: Path, records: Path) -> Path:
    """The evaluation of `model` as `evaluate` leaves it."""
    from tinyunet.evaluation.evaluate import evaluate

    out = model.with_name("evaluation")
    evaluate(model, records, out, EvalConfig(overlays=3))
    return out


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A real MinIO and a real MLflow server on free ports, for the whole session."""
    from tinyunet.devtools.services import local_services

    folder = tmp_path_factory.mktemp("services")
    with local_services(folder) as env:
        yield Services(folder, env)


@pytest.fixture(scope="session")
def registered(
    services: Services, records: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registered]:
    """A model trained, evaluated and registered with these services: 12 steps, run `fixture`."""
    from tinyunet.evaluation.evaluate import evaluate
    from tinyunet.registry.register import register
    from tinyunet.tracking.tracker import Tracker
    from tinyunet.training.distributed import World
    from tinyunet.training.loop import train
    from tinyunet.training.run import Job

    folder = tmp_path_factory.mktemp("registered")
    model, judged = folder / "model", folder / "evaluation"
    config = TrainConfig(image_size=SIZE, steps=12, global_batch=8, precision="float32", validate_every=6)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.env.items():
            patch.setenv(name, value)
        job = Job(records, str(model), str(folder / "checkpoints"), config, World(), "fixture")
        train(job, Tracker())
        evaluate(model, records, judged, EvalConfig(overlays=3))
        yield Registered(model, judged, register(model, judged))
