"""Fixtures shared by all suites: one tiny synthetic class, from raw images to a registered model."""

import gc
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.prepared_python import EAGER, serving
from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.files import cache_folder

if TYPE_CHECKING:
    from tinyunet.registry.register import Registration

MODELS = ("engines", "models", "served", "trainings", "uris")  # folders of the cache
SIZE = 64
SOURCE = f"synthetic://?train=24&test=16&size={SIZE}&seed=7"


@dataclass(frozen=True)
class Services:
    """Running services: their folder, and the environment variables that select them."""

    folder: Path
    env: dict[str, str]


@dataclass(frozen=True)
class Registered:
    """A registered model: its folder, its evaluation, and what `register` returned."""

    model: Path
    evaluation: Path
    result: "Registration"


def pytest_collection_finish() -> None:
    """Leave the imported modules out of garbage collections, which trainings cause often."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _outside_of_a_pod() -> Iterator[None]:
    """The tests behave as on any machine, even if they run in a Kubernetes pod."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache gets no models of the tests, but everything that is built once, such as MinIO."""
    shared, own = cache_folder(), tmp_path_factory.mktemp("cache")
    shared.mkdir(parents=True, exist_ok=True)
    for path in shared.iterdir():
        if path.name not in MODELS:
            (own / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYUNET_CACHE", str(own))
        yield
    for path in own.iterdir():
        if path.name not in MODELS and not (shared / path.name).exists():
            shutil.move(path, shared)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Python for commands that need TensorFlow or MLflow, which its processes have imported already."""
    with serving(tmp_path_factory.mktemp("python")) as program:
        yield program


@contextmanager
def without_graphs() -> Iterator[None]:
    """TensorFlow builds no graphs: that of a training step costs more than ten steps without one."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eager() -> Iterator[None]:
    """TensorFlow builds no graphs in this test, but in the fixtures of wider scope."""
    with without_graphs():
        yield


@pytest.fixture
def eager_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow builds no graphs in the processes that the test starts with `python`."""
    monkeypatch.setenv(EAGER, "1")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory, python: str) -> Path:
    """A database of MLflow without runs. Tests copy it, because MLflow needs seconds for its tables."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    program = f"import mlflow; mlflow.MlflowClient('sqlite:///{database}').search_experiments()"
    subprocess.run([python, "-c", program], check=True, capture_output=True)
    return database


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine folder without a trained network: see `tests.engines`. Tests that change it copy it."""
    from tests.engines import write_engine

    return write_engine(tmp_path_factory.mktemp("engine") / "engine")


@pytest.fixture(scope="session")
def class1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Train (24 images, 8 defective) and Test (16, 5) of class 1, as `raw` holds them."""
    from tinyunet.data.synthetic.generator import generate, parse_source

    folder = tmp_path_factory.mktemp("dagm") / "Class1"
    generate(folder, 1, parse_source(SOURCE))
    return folder


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class 1 as `ingest` writes it: Train 24 (8 defective), Test 16 (5 defective), 64×64."""
    from tinyunet.data.ingest import ingest

    out = tmp_path_factory.mktemp("data") / "raw"
    ingest(SOURCE, out, category="class1")
    return out


@pytest.fixture(scope="session")
def records(raw: Path) -> Path:
    """The records of `raw`: train 21 (7 defective), validation 3 (1), test 16 (5); 2 shards each."""
    from tinyunet.data.tfrecord import convert

    out = raw.with_name("records")
    convert(raw, out, DataConfig(shards=2))
    return out


@pytest.fixture(scope="session")
def model(records: Path) -> Path:
    """A model folder as `train` writes it, after 12 steps; the model is hardly trained."""
    from tinyunet.tracking.tracker import NullTracker
    from tinyunet.training.distributed import World
    from tinyunet.training.loop import train
    from tinyunet.training.run import TrainingRun

    out = records.with_name("model")
    config = TrainConfig(image_size=SIZE, steps=12, global_batch=8, precision="float32", validate_every=6)
    run = TrainingRun(records=str(records), out=str(out), config=config, run_key="fixture")
    train(run, World(), NullTracker())
    return out


@pytest.fixture(scope="session")
def evaluation(model: Path, records: Path) -> Path:
    """The evaluation of `model` as `evaluate` writes it."""
    from tinyunet.evaluation.evaluate import evaluate

    out = model.with_name("evaluation")
    evaluate(model, records, out, EvalConfig(overlays=3))
    return out


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Real MinIO and MLflow servers on free ports, for the whole session."""
    from tinyunet.devtools.services import local_services

    folder = tmp_path_factory.mktemp("services")
    with local_services(folder) as env:
        yield Services(folder, env)


@pytest.fixture(scope="session")
def registered(
    services: Services, records: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registered]:
    """A model that is trained, evaluated and registered with these services: 12 steps, run key `fixture`."""
    from tinyunet.evaluation.evaluate import evaluate
    from tinyunet.registry.register import register
    from tinyunet.tracking.tracker import Tracker
    from tinyunet.training.distributed import World
    from tinyunet.training.loop import train
    from tinyunet.training.run import TrainingRun

    folder = tmp_path_factory.mktemp("registered")
    model, evaluation = folder / "model", folder / "evaluation"
    config = TrainConfig(image_size=SIZE, steps=12, global_batch=8, precision="float32", validate_every=6)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in services.env.items():
            patch.setenv(name, value)
        run = TrainingRun(records=str(records), out=str(model), config=config, run_key="fixture")
        train(run, World(), Tracker())
        evaluate(model, records, evaluation, EvalConfig(overlays=3))
        yield Registered(model, evaluation, register(model, evaluation))
