"""The checks before a local run starts."""

import inspect
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline.local_options import LocalOptions, parse, pipeline_arguments
from pipeline.pipeline import build
from pipeline.preflight import check_local_run
from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--preset", "slow"], "unknown preset 'slow'; expected one of: fast, nvidia, thorough"),
        (["--ranks", "3"], "ranks is 3; expected a divisor of the global batch 16"),
        (["--ranks", "0"], "ranks is 0"),
        (["--image-size", "100"], "image_size is 100; expected a multiple of 16"),
        (["--class-id", "11"], "category is '11'; expected class1 to class10, or 1 to 10"),
        (["--category", "1,11"], "category is '11'; expected class1 to class10"),
        (["--category", "1,,2"], "category is '1,,2'; expected names between commas"),
        (["--class-id", "2,class2"], "category is '2,class2'; expected every category once: leave out"),
        (["--class-id", "all", "--model-name", "steel"], "--model-name is for one category"),
        (["--model-name", "team/a"], "model name is 'team/a'; expected at most 256 characters without / : @"),
        (["--precision", "float64"], "precision is 'float64'"),
        (["--steps", "-5"], "steps is -5; expected at least 1, or 0 for the preset's own number"),
        (["--source", ""], "source is ''; expected a folder, an archive or a URL"),
        (["--source", "synthetic://?trian=5"], "unknown SyntheticConfig key 'trian'"),
        (["--source", str(Path(__file__).parent)], "has no known layout"),
        (["--image-size", "128", "--patch", "128"], "image_size is 128 and patch is 128; give one of them"),
        (["--ingest", "layot=pairs"], "unknown option 'layot' of ingest; known options: allow_partial"),
        (["--ingest", "split=80/30/10"], "split is '80/30/10'; expected percentages"),
        (["--set", "preset=nvidia"], "preset=nvidia is no change to a preset"),
        (["--image-score", "mean"], "image_score is 'mean'"),
        (["--test-time-poses", "4"], "test_time_poses is 4"),
        (["--set", "learning_rat=1"], "unknown TrainConfig key 'learning_rat'"),
        (["--set", "learning_rate=fast"], "learning_rate is 'fast'"),
        (["--set", "learning_rate"], "--set learning_rate; expected KEY=VALUE"),
        (["--set", "learning_rate="], "--set learning_rate=; expected KEY=VALUE"),
        (["--set", "precision=a: b"], "precision is 'a: b'; expected one of auto, float32"),
        (["--set", "steps=abc"], "steps is 'abc'; expected an int"),
        (["--source", "/no/such/folder"], "/no/such/folder does not exist"),
        (
            ["--source", __file__],
            "test_preflight.py is a file, but not a .zip or .tar; expected a folder, a .zip",
        ),
        (
            ["--source", "ftp://example.org/x"],
            "is a ftp URL; expected a folder, a .zip, a .tar, s3://bucket/prefix",
        ),
        (["--source", "ftp://me:pw@example.org/x"], "ftp://***@example.org/x is a ftp URL"),
    ],
)
def test_a_wrong_argument_is_found_before_anything_starts(arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        check_local_run(pipeline_arguments(parse(arguments)))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_of_any_type_change_the_training_with_and_without_quotes() -> None:
    settings = ("learning_rate=5e-4", "ema=0.2", "deterministic=true", "loss='dice_bce'", "ema=0.3")
    options = parse([part for setting in settings for part in ("--set", setting)])
    config = check_local_run(pipeline_arguments(options))
    expected = {"learning_rate": 5e-4, "ema": 0.3, "deterministic": True, "loss": "dice_bce"}
    assert config == TrainConfig().replace(expected)


def test_without_options_a_run_has_the_defaults_of_the_pipeline() -> None:
    signature = inspect.signature(build().pipeline_func).parameters
    defaults = {name: parameter.default for name, parameter in signature.items()}
    arguments = pipeline_arguments(parse([]))
    assert arguments == {name: defaults[name] for name in arguments} | {"launcher": "local"}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://127.0.0.1:1", r"is http://127\.0\.0\.1:1, which does not answer \(ConnectionError\); start"),
        ("ftp://host/x", "is 'ftp://host/x'; expected one that begins with http, https, sqlite"),
    ],
)
def test_an_unusable_mlflow_store_is_found_before_the_start(
    uri: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=f"MLFLOW_TRACKING_URI {expected}"):
        check_local_run(pipeline_arguments(LocalOptions()))


def test_without_a_server_a_run_uses_its_own_database_even_in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    check_local_run(pipeline_arguments(LocalOptions()))


def test_missing_mpirun_is_found_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check_local_run(pipeline_arguments(LocalOptions()))
    with pytest.raises(UserError, match="mpirun is not installed; expected for ranks > 1"):
        check_local_run(pipeline_arguments(LocalOptions(workers=2)))


@pytest.mark.parametrize("name", ["Class1.zip", "DAGM.ZIP"])
def test_an_archive_is_recognised_by_its_suffix_in_any_case(name: str, class1: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as file:
        for path in class1.rglob("*.*"):
            file.write(path, path.relative_to(class1.parent))
    check_local_run(pipeline_arguments(LocalOptions(source=str(tmp_path / name))))


def test_a_local_source_becomes_absolute_and_settings_become_yaml() -> None:
    arguments = pipeline_arguments(LocalOptions(source="data", settings=("seed=1", "ema=0.2")))
    assert arguments["source"] == str(Path.cwd() / "data")
    assert yaml.safe_load(arguments["overrides"]) == {"seed": "1", "ema": "0.2"}
    assert pipeline_arguments(LocalOptions(source="s3://b/k"))["source"] == "s3://b/k"


def test_the_scale_of_a_run_is_that_of_the_pipeline() -> None:
    assert pipeline_arguments(parse(["--scale", "0.5"]))["scale"] == 0.5
    with pytest.raises(UserError, match=r"scale is 0\.5; expected 1, or a training on patches"):
        check_local_run(pipeline_arguments(parse(["--scale", "0.5", "--image-size", "64"])))


def test_all_categories_are_those_of_the_source(tmp_path: Path) -> None:
    for category in ("nut", "bolt"):
        for name in ("train/good/0", "test/good/0", "test/dent/0", "ground_truth/dent/0_mask"):
            (tmp_path / category / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / category / f"{name}.png").touch()
    source = ["--source", str(tmp_path), "--category"]
    assert pipeline_arguments(parse([*source, "all"]))["categories"] == ["bolt", "nut"]
    assert pipeline_arguments(parse([*source, "nut"]))["category"] == "nut"
    with pytest.raises(UserError, match=f"{tmp_path}/nut has no categories; leave CATEGORY=all out"):
        pipeline_arguments(parse(["--source", str(tmp_path / "nut"), "--category", "all"]))


def test_every_local_part_of_a_joined_source_becomes_absolute_and_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("more", "part-7"):
        for kind in ("images", "masks"):
            (tmp_path / name / kind).mkdir(parents=True)
            (tmp_path / name / kind / "1.png").touch()
    arguments = pipeline_arguments(parse(["--source", "more+part-7"]))
    assert arguments["source"] == f"{tmp_path}/more+{tmp_path}/part-7"
    check_local_run(arguments)
    (tmp_path / "more" / "masks" / "1.png").unlink()
    with pytest.raises(UserError, match=rf"{tmp_path}/more .*images"):
        check_local_run(arguments)
