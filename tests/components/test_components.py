"""The components have the defaults of the configuration, and run as plain functions."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.compare import compare
from components.convert import convert
from components.evaluate import evaluate
from components.ingest import ingest
from components.register import register
from components.train import train
from pipeline.pipeline import PIPELINES
from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST
from tinyunet.training.model_folder import read_model
from tinyunet.training.run import TrainingRun

COMPONENTS = {
    "ingest": ingest,
    "convert": convert,
    "train": train,
    "evaluate": evaluate,
    "register": register,
    "compare": compare,
}

LAUNCH = {"steps": 0, "overrides": "", "workers": 1, "slots_per_worker": 1, "launcher": "auto"}
SIZES = {"image_size": 0, "patch": 0}  # 0 selects what the preset does
TRAINING = {name: getattr(TrainConfig(), name) for name in ("preset", "precision", "seed")} | SIZES | LAUNCH
EVALUATION = {
    name: getattr(EvalConfig(), name) for name in ("test_time_poses", "image_score", "target", "cost")
}


def defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


@pytest.mark.parametrize(
    ("name", "config", "other"),
    [
        (
            "ingest",
            DataConfig,
            {
                "source": "synthetic://",
                "category": "",
                "ingest_options": "",
                "model_name": "",
                "deploy": False,
            }
            | TRAINING
            | EVALUATION,
        ),
        ("convert", DataConfig, {}),
        (
            "train",
            TrainConfig,
            {"category": ""} | SIZES | LAUNCH,
        ),
        ("evaluate", EvalConfig, {}),
        ("register", DataConfig, {"name": "", "deploy": False}),
    ],
)
def test_defaults_are_those_of_the_configuration(name: str, config: type[Any], other: dict[str, Any]) -> None:
    """A component has literals, because KFP runs its source elsewhere; 0 steps are the preset's number."""
    fields = {name: field.default for name, field in config.model_fields.items()}
    declared = defaults(COMPONENTS[name].python_func)
    assert declared == {key: other[key] if key in other else fields[key] for key in declared}
    assert other.keys() <= declared.keys()


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_defaults_of_a_pipeline_are_those_of_its_components(name: str) -> None:
    expected: dict[str, Any] = {}
    for component in COMPONENTS.values():
        expected |= defaults(component.python_func)
    expected["model_name"] = expected.pop("name")
    expected["categories"] = [str(number) for number in range(1, 11)]
    declared = defaults(PIPELINES[name]().pipeline_func)
    assert declared == {key: expected[key] for key in declared}


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_every_component_documents_its_parameters(name: str) -> None:
    spec = COMPONENTS[name].component_spec
    assert spec.description
    documented = COMPONENTS[name].python_func.__doc__
    for parameter in inspect.signature(COMPONENTS[name].python_func).parameters:
        assert f"\n        {parameter}: " in documented


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model_name": "team/a"}, "model name is 'team/a'"),
        ({"preset": "slow"}, "unknown preset 'slow'"),
        ({"workers": 3}, "ranks is 3; expected a divisor of the global batch 16"),
        ({"image_score": "mean"}, "image_score is 'mean'"),
        ({"scale": 2.0}, "scale is 2.0"),
        ({"scale": 0.5, "image_size": 64}, "scale is 0.5; expected 1, or a training on patches"),
    ],
)
def test_the_first_task_refuses_a_parameter_of_a_later_task_and_fetches_nothing(
    parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    raw, report = artifact(dsl.Dataset, tmp_path / "raw"), artifact(dsl.HTML, tmp_path / "report")
    with pytest.raises(UserError, match=message):
        ingest.python_func(raw=raw, report=report, **parameters)
    assert list(tmp_path.iterdir()) == []


def artifact(kind: type[Any], path: Path) -> Any:
    return kind(uri=str(path))


def test_ingest_and_convert_write_what_the_next_step_reads(tmp_path: Path) -> None:
    raw, report = artifact(dsl.Dataset, tmp_path / "raw"), artifact(dsl.HTML, tmp_path / "report")
    ingest.python_func(
        raw=raw, report=report, source="synthetic://?train=16&test=8&size=64&seed=3", category="class2"
    )
    manifest = json.loads((tmp_path / "raw" / "dataset.json").read_text())
    assert raw.metadata == {
        "digest": manifest["digest"],
        "dataset": "dagm",
        "category": "class2",
        "complete": False,
        "synthetic": True,
    }
    assert "<html" in Path(report.path).read_text()

    records, sizes = artifact(dsl.Dataset, tmp_path / "records"), artifact(dsl.Metrics, tmp_path / "sizes")
    convert.python_func(
        raw=raw, records=records, sizes=sizes, validation_fraction=0.3, fold=1, shards=2, scale=0.5
    )
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert (manifest["validation_fraction"], manifest["fold"], manifest["scale"]) == (0.3, 1, 0.5)
    assert sizes.metadata["train_defective"] == manifest["splits"]["train"]["defective"]
    assert len(list((tmp_path / "records").glob("*-of-00002.tfrecord"))) == 6
    assert sizes.metadata["train_images"] + sizes.metadata["validation_images"] == 16
    assert sizes.metadata["test_images"] == 8
    assert records.metadata["digest"] != raw.metadata["digest"]


def test_the_train_task_describes_one_training_and_overrides_have_precedence(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[TrainingRun, dict[str, Any]]] = []
    document = read_model(model)

    def launch(run: TrainingRun, **options: Any) -> ModelDocument:
        calls.append((run, options))
        return document

    monkeypatch.setattr("tinyunet.launch.launch.launch", launch)
    output, metrics = artifact(dsl.Model, tmp_path / "model"), artifact(dsl.Metrics, tmp_path / "metrics")
    task_config = dsl.TaskConfig()
    train.python_func(
        records=artifact(dsl.Dataset, tmp_path / "records"),
        model=output,
        metrics=metrics,
        task_config=task_config,
        run_id="r",
        category="class3",
        steps=7,
        seed=5,
        overrides="image_size: 64\nema: 0.2",
        workers=2,
        slots_per_worker=4,
    )
    expected = TrainingRun(
        records=str(tmp_path / "records"),
        out=str(tmp_path / "model"),
        config=FAST.replace({"image_size": 64, "steps": 7, "seed": 5, "ema": 0.2}),
        run_key="class3-r",
        category="class3",
        ranks=8,
    )
    assert calls == [(expected, {"slots_per_worker": 4, "launcher": "auto", "task_config": task_config})]
    assert metrics.metadata == document.training.model_dump()
    assert output.metadata == {"preset": "fast", "mlflow_run_id": ""}


def test_a_wrong_override_stops_training_before_it_starts(tmp_path: Path) -> None:
    from tinyunet.core.errors import UserError

    with pytest.raises(UserError, match="unknown TrainConfig key 'learning_rat'"):
        train.python_func(
            records=artifact(dsl.Dataset, tmp_path / "records"),
            model=artifact(dsl.Model, tmp_path / "model"),
            metrics=artifact(dsl.Metrics, tmp_path / "metrics"),
            task_config=dsl.TaskConfig(),
            run_id="test",
            overrides="learning_rat: 0.1",
        )
    assert not (tmp_path / "model").exists()


def test_the_train_task_has_the_exit_code_and_the_error_of_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tinyunet.mpijob.status import JobFailed

    def fail(*arguments: object, **options: object) -> None:
        raise JobFailed("MPIJob team/tinyunet-r launcher exited 7", exit_code=7)

    monkeypatch.setattr("tinyunet.launch.launch.launch", fail)
    with pytest.raises(SystemExit) as ended:
        train.python_func(
            records=artifact(dsl.Dataset, tmp_path / "records"),
            model=artifact(dsl.Model, tmp_path / "model"),
            metrics=artifact(dsl.Metrics, tmp_path / "metrics"),
            task_config=dsl.TaskConfig(),
            run_id="r",
        )
    assert ended.value.code == 7
    assert capsys.readouterr().err == "tinyunet: error: MPIJob team/tinyunet-r launcher exited 7\n"
