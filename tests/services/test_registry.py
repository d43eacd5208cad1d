"""Model versions and the alias `champion` in a real MLflow registry."""

import json
import secrets
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pytest
import yaml
from mlflow.entities import LoggedModelOutput

from tests.conftest import Registered, Services
from tests.unit.registry.conftest import register_at_once
from tinyunet.cli.main import parse
from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.engine.engine import Engine
from tinyunet.engine.network import has_int8
from tinyunet.evaluation.evaluate import evaluate, read_evaluated_model
from tinyunet.evaluation.summary import headline
from tinyunet.registry.register import Registration, register
from tinyunet.registry.versions import MODEL_KEY, model_key
from tinyunet.serving.find import find_engine
from tinyunet.serving.loading import load_serving
from tinyunet.tracking.download import download_model, download_model_folder


@pytest.fixture
def client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient()


@pytest.fixture(autouse=True)
def _server(services: Services) -> None:
    """MLflow's own functions use this server too; an earlier test may have set another one."""
    mlflow.set_tracking_uri(services.env["MLFLOW_TRACKING_URI"])
    mlflow.set_registry_uri(services.env["MLFLOW_TRACKING_URI"])


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def untracked(registered: Registered, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The registered model as if trained without this server; `register` uses another experiment for it."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"untracked models of {tmp_path.name}")
    model = tmp_path / "model"
    shutil.copytree(registered.model, model)
    change(model, mlflow=None)
    return model


@pytest.fixture
def small(untracked: Path) -> Path:
    """The same with a network that is registered several times faster; it suits `with_scores`."""
    grey = keras.Input((64, 64, 1))
    keras.Model(grey, keras.layers.Conv2D(1, 3, padding="same")(grey)).save(untracked / "model.keras")
    return untracked


def change(model: Path, **fields: object) -> None:
    """Change fields of a model.json."""
    ModelDocument.read(model).model_copy(update=fields).write(model)


def with_scores(
    registered: Registered, folder: Path, *, dice: float, ap: float, digest: str = "d" * 64
) -> Path:
    """Write a copy of the registered model's evaluation with other scores and for any file of the network."""
    evaluation = Evaluation.read(registered.evaluation)
    model = evaluation.model.model_copy(update={"sha256": ""})
    test = evaluation.test.model_copy(update={"dice_defective": dice, "image_ap": ap})
    data = evaluation.data.model_copy(update={"test_digest": digest})
    out = folder / f"{dice}-{ap}-{digest[:1]}"
    evaluation.model_copy(update={"model": model, "test": test, "data": data}).write(out)
    (out / "model_card.md").write_text(f"# Card of dice {dice}\n")
    return out


def test_a_first_version_has_description_tags_and_the_alias_champion(
    client: mlflow.MlflowClient, registered: Registered
) -> None:
    result = registered.result
    assert (result.name, result.version) == ("tinyunet-dagm-class1", "1")
    assert result.champion is True
    version = client.get_model_version_by_alias("tinyunet-dagm-class1", "champion")
    evaluation = Evaluation.read(registered.evaluation)
    assert int(version.version) == 1
    assert version.run_id == result.run_id
    assert version.tags["test_digest"] == evaluation.data.test_digest
    assert float(version.tags["threshold"]) == evaluation.threshold
    assert version.tags["tinyunet.champion_reason"] == "version 1 is champion: there was no champion"
    card = (registered.evaluation / "model_card.md").read_text()
    assert version.description == card[:5000]


def test_a_served_model_takes_grey_levels_and_returns_named_outputs(registered: Registered) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, at import
        import mlflow.pyfunc
    served = mlflow.pyfunc.load_model(registered.result.uri)
    inputs, outputs = served.metadata.signature.inputs, served.metadata.signature.outputs
    assert [(i.type, i.shape) for i in inputs] == [(np.dtype("uint8"), (-1, -1, -1, 1))]
    assert {o.name for o in outputs} == {"probability", "mask", "score", "defective"}
    example = served.input_example
    assert example.shape == (1, 64, 64, 1)
    outputs = served.predict(example)
    assert outputs["mask"].shape == (1, 64, 64, 1)
    assert outputs["score"].shape == (1,)
    assert set(np.unique(outputs["mask"])) <= {0, 1}
    assert served.predict(np.full((2, 96, 80, 1), 128, np.uint8))["probability"].shape == (2, 96, 80, 1)


@pytest.mark.usefixtures("eager")
def test_a_model_evaluated_over_eight_poses_is_served_with_eight_poses(
    registered: Registered, untracked: Path, records: Path, tmp_path: Path
) -> None:
    options = EvalConfig(test_time_poses=8, overlays=0)
    evaluation = evaluate(untracked, records, tmp_path / "eight", options)
    served = load_serving(register(untracked, tmp_path / "eight", name="eight 'poses'").uri)
    images = load_split(records, "test", 64).images[..., None]
    scores = [image.score for image in evaluation.images]
    np.testing.assert_allclose(served.predict_on_batch(images)["score"], scores, atol=1e-4)
    metadata = yaml.safe_load((download_model("models:/eight 'poses'@champion") / "MLmodel").read_text())
    assert metadata["metadata"]["test_time_poses"] == 8


def test_a_version_holds_the_engine_that_serves_it(registered: Registered, cache: Path) -> None:
    for uri in (registered.result.uri, "models:/tinyunet-dagm-class1@champion"):
        found = find_engine(uri)
        assert (found.name, found.version) == ("tinyunet-dagm-class1", registered.result.version)
    assert found.folder.parent == cache / "engines"
    engine = Engine(found.folder)
    engine.check()
    evaluation = Evaluation.read(registered.evaluation)
    assert engine.document.threshold == evaluation.threshold
    assert engine.document.weights_digest == evaluation.model.weights_digest
    assert not (cache / "models").exists(), "only the engine is downloaded"


def test_with_records_the_version_holds_an_int8_network_if_it_loses_little(
    registered: Registered,
    untracked: Path,
    records: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = register(untracked, registered.evaluation, name="int8", records=records)
    line = next(line for line in capsys.readouterr().err.splitlines() if "int8 network" in line)
    found = find_engine(version.uri)
    document = ServedModel.read(found.folder)
    assert (document.int8 is None) == line.startswith("no int8 network")
    assert has_int8(found.folder) == (document.int8 is not None)
    if document.int8 is not None:  # the model is hardly trained, and its masks may differ
        assert document.int8.defective_images == 1
        Engine(found.folder, precision="int8").check()


def test_a_version_without_an_engine_is_converted_and_gets_one_when_it_is_registered_again(
    registered: Registered,
    untracked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tinyunet.registry.register.log_engine", lambda *_: None)
        first = register(untracked, registered.evaluation, name="without engine")
    converted = find_engine(first.uri)
    assert f"converting {first.uri} for the engine, once" in capsys.readouterr().err
    assert register(untracked, registered.evaluation, name="without engine").version == first.version
    kept = find_engine(first.uri, cache=tmp_path / "another cache")
    assert "converting" not in capsys.readouterr().err
    assert kept.folder.name == converted.folder.name
    documents = [ServedModel.read(found.folder) for found in (converted, kept)]
    assert documents[0].network_sha256 == documents[1].network_sha256
    assert documents[0].threshold == documents[1].threshold


def test_run_and_model_have_descriptions_and_a_users_text_is_not_replaced(
    client: mlflow.MlflowClient, registered: Registered
) -> None:
    description = client.get_registered_model("tinyunet-dagm-class1").description
    assert description.startswith("Finds and outlines surface defects on DAGM2007 class 1.")
    run_id, note = registered.result.run_id, "mlflow.note.content"
    text = client.get_run(run_id).data.tags[note]
    assert text.startswith(
        f"Test: {headline(Evaluation.read(registered.evaluation))}\n\nNot comparable with NVIDIA's"
    )
    assert f"{registered.result.evaluation}/report.html" in text
    client.set_tag(run_id, note, "for line 3")
    register(registered.model, registered.evaluation)
    assert client.get_run(run_id).data.tags[note] == "for line 3"
    client.set_tag(run_id, note, "Test: of an older version")
    register(registered.model, registered.evaluation)
    assert client.get_run(run_id).data.tags[note] == text


def test_registering_again_returns_the_same_version(
    client: mlflow.MlflowClient, registered: Registered
) -> None:
    experiment = client.get_run(registered.result.run_id).info.experiment_id
    before = [m.model_id for m in client.search_logged_models([experiment])]
    second = register(registered.model, registered.evaluation)
    assert second.version == registered.result.version
    assert second.champion is True
    assert second.reason == "version 1 is the champion already"
    assert len(client.search_model_versions("name = 'tinyunet-dagm-class1'")) == 1
    assert [m.model_id for m in client.search_logged_models([experiment])] == before


@pytest.mark.usefixtures("eager")
def test_the_alias_moves_only_to_a_better_model_on_the_same_test_images(
    client: mlflow.MlflowClient, registered: Registered, small: Path, tmp_path: Path
) -> None:
    def challenge(weights: str = "", **scores: Any) -> Registration:
        change(small, weights_digest=weights or secrets.token_hex(32))
        return register(small, with_scores(registered, tmp_path, **scores), name="contest")

    def champion() -> int:
        return int(client.get_model_version_by_alias("contest", "champion").version)

    assert challenge(dice=0.80, ap=0.99).champion is True
    worse = challenge(dice=0.79, ap=1.00)
    assert (worse.version, worse.champion, champion()) == ("2", False, 1)
    assert "Dice is not higher" in worse.reason
    lower_ap = challenge(dice=0.90, ap=0.97)
    assert (lower_ap.version, lower_ap.champion, champion()) == ("3", False, 1)
    assert "AP is lower by more than 0.01" in lower_ap.reason
    other_images = challenge(dice=0.95, ap=1.00, digest="e" * 64)
    assert (other_images.version, other_images.champion, champion()) == ("4", False, 1)
    assert "evaluated on other test images" in other_images.reason
    better = challenge(dice=0.81, ap=0.985, weights="a" * 64)
    assert (better.version, better.champion, champion()) == ("5", True, 5)
    assert "test Dice 0.8100 against 0.8000, image AP 0.9850 against 0.9900" in better.reason
    for result in (worse, lower_ap, other_images, better):
        version = client.get_model_version("contest", result.version)
        assert version.tags["tinyunet.champion_reason"] == result.reason
    assert client.get_run(better.run_id).data.tags["tinyunet.champion_reason"] == better.reason
    same_weights = challenge(dice=0.5, ap=0.5, digest="e" * 64, weights="a" * 64)
    assert (same_weights.version, same_weights.champion, champion()) == ("6", True, 6)
    other_images = challenge(dice=0.95, ap=1.00, digest="e" * 64)
    assert (other_images.version, other_images.champion, champion()) == ("4", True, 4)


def test_of_20_registrations_at_the_same_moment_the_best_one_is_champion(
    client: mlflow.MlflowClient,
) -> None:
    name, dices = "twenty", [0.5 + i / 100 for i in range(20)]
    client.create_registered_model(name)
    secrets.SystemRandom().shuffle(dices)
    register_at_once(client, name, dices)
    champion = client.get_model_version_by_alias(name, "champion")
    assert float(champion.tags["dice_defective"]) == max(dices)
    assert len(client.search_model_versions(f"name = '{name}'")) == 20
    assert client.get_registered_model(name).tags == {}


def test_a_model_whose_run_was_deleted_can_be_registered_again(
    client: mlflow.MlflowClient, registered: Registered, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = registered.result.run_id
    client.delete_run(run_id)
    assert register(registered.model, registered.evaluation).run_id == run_id
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    assert f"the MLflow run {run_id} was deleted; it is restored" in capsys.readouterr().err


@pytest.mark.usefixtures("eager")
def test_a_model_trained_without_this_server_gets_one_new_run(
    client: mlflow.MlflowClient, registered: Registered, small: Path, tmp_path: Path
) -> None:
    evaluation = with_scores(registered, tmp_path, dice=0.5, ap=0.5)
    first = register(small, evaluation, name="untracked")
    assert first.run_id != registered.result.run_id
    second = register(small, evaluation, name="untracked")
    assert second == replace(first, reason="version 1 is the champion already")
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["steps"] == "12"
    assert run.data.metrics["test_dice_defective"] == 0.5
    assert run.data.tags["tinyunet.champion_reason"] == "version 1 is champion: there was no champion"


def test_an_evaluation_of_another_model_is_refused(registered: Registered, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(registered.model, model)
    with (model / "model.keras").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="evaluates another model than"):
        register(model, registered.evaluation)


def test_records_of_another_evaluation_are_refused(
    registered: Registered, records: Path, tmp_path: Path
) -> None:
    RecordsManifest.read(records).model_copy(update={"digest": "0"}).write(tmp_path)
    with pytest.raises(UserError, match="are other records than those of"):
        register(registered.model, registered.evaluation, records=tmp_path)


def test_a_downloaded_model_is_cached(registered: Registered, cache: Path) -> None:
    folder = download_model("models:/tinyunet-dagm-class1@champion")
    assert (folder / "data" / "model.keras").is_file()
    assert [p.name for p in (cache / "models").iterdir()] == [folder.name]
    before = (folder / "MLmodel").stat().st_ctime_ns
    for uri in (registered.result.uri, f"models:/{folder.name}"):
        assert download_model(uri) == folder
    assert (folder / "MLmodel").stat().st_ctime_ns == before


def test_a_registered_model_can_be_evaluated_and_registered_from_its_uri(
    registered: Registered, untracked: Path, records: Path, cache: Path, tmp_path: Path
) -> None:
    first = register(untracked, registered.evaluation, name="fetched")
    uri, evaluation = "models:/fetched@champion", tmp_path / "evaluation"
    for _ in range(2):  # the second call reads the cache
        folder = download_model_folder(uri)
    assert (folder / "model.keras").read_bytes() == (untracked / "model.keras").read_bytes()
    document = ModelDocument.read(folder)
    assert document == ModelDocument.read(untracked)
    for command in (
        ["evaluate", uri, str(records), "--out", str(evaluation)],
        ["register", f"runs:/{first.run_id}", str(evaluation), "--name", "fetched"],
    ):
        arguments = parse(command)
        arguments.run(arguments)
    assert Evaluation.read(evaluation).test == Evaluation.read(registered.evaluation).test
    cached = f"{first.run_id}-{document.weights_digest[:12]}"
    assert [p.name for p in (cache / "trainings").iterdir()] == [cached]


@pytest.mark.usefixtures("eager")
def test_a_version_refers_to_its_own_training_after_its_run_is_trained_again(
    client: mlflow.MlflowClient, registered: Registered, small: Path, tmp_path: Path
) -> None:
    first = register(small, with_scores(registered, tmp_path, dice=0.7, ap=0.9), name="retrained")
    before = ModelDocument.read(small)
    change(small, weights_digest="f" * 64)
    client.set_tag(first.run_id, "weights_digest", "f" * 64)  # as a second training does
    second = register(small, with_scores(registered, tmp_path, dice=0.8, ap=0.9), name="retrained")
    assert second.run_id == first.run_id
    sources = [client.get_model_version("retrained", r.version).source for r in (first, second)]
    assert all(source.startswith("models:/m-") for source in sources)
    for uri in (first.uri, sources[0]):
        assert ModelDocument.read(download_model_folder(uri)) == before
    for uri in (second.uri, sources[1], f"runs:/{first.run_id}"):
        assert ModelDocument.read(download_model_folder(uri)).weights_digest == "f" * 64


@pytest.mark.usefixtures("eager")
def test_registering_again_adds_a_missing_digest_of_the_weights_to_a_version(
    client: mlflow.MlflowClient, registered: Registered, small: Path, tmp_path: Path
) -> None:
    evaluation = with_scores(registered, tmp_path, dice=0.7, ap=0.9)
    version = register(small, evaluation, name="older").version
    client.delete_model_version_tag("older", version, "weights_digest")
    with pytest.raises(UserError, match="register it again"):
        download_model_folder("models:/older@champion")
    assert register(small, evaluation, name="older").version == version
    assert download_model_folder("models:/older@champion").is_dir()


@pytest.mark.usefixtures("eager")
def test_an_evaluation_on_other_test_images_does_not_change_the_scores_of_the_run(
    client: mlflow.MlflowClient, registered: Registered, small: Path, tmp_path: Path
) -> None:
    scores = {"d": 0.7, "e": 0.2}
    results = [
        register(small, with_scores(registered, tmp_path, dice=dice, ap=0.9, digest=letter * 64))
        for letter, dice in scores.items()
    ]
    run = client.get_run(results[0].run_id)
    assert run.data.metrics["test_dice_defective"] == 0.7
    assert run.data.tags["test_digest"] == "d" * 64
    assert stored_dice(client, results, tmp_path) == [0.7, 0.2]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("linked", [False, True])
def test_an_interrupted_registration_is_continued_in_its_logged_model(
    client: mlflow.MlflowClient, registered: Registered, tmp_path: Path, *, linked: bool
) -> None:
    evaluation = with_scores(registered, tmp_path, dice=0.6 + 0.01 * linked, ap=0.9)
    sha256 = read_evaluated_model(registered.model).sha256
    key = model_key(sha256, Evaluation.read(evaluation))
    run_id = registered.result.run_id
    experiment = client.get_run(run_id).info.experiment_id
    begun = client.create_logged_model(experiment, "model", source_run_id=run_id, tags={MODEL_KEY: key})
    if linked:
        client.log_outputs(run_id, [LoggedModelOutput(begun.model_id, step=0)])
    name = f"continued-{linked}"
    result = register(registered.model, evaluation, name=name)
    assert client.get_model_version(name, result.version).source == f"models:/{begun.model_id}"
    assert client.get_logged_model(begun.model_id).status == "READY"
    outputs = [one.model_id for one in client.get_run(run_id).outputs.model_outputs]
    assert outputs.count(begun.model_id) == 1
    assert load_serving(f"models:/{name}/1").outputs


@pytest.mark.usefixtures("eager")
def test_a_second_evaluation_on_the_same_test_images_keeps_the_first_report(
    client: mlflow.MlflowClient, registered: Registered, small: Path, tmp_path: Path
) -> None:
    results = [
        register(small, with_scores(registered, tmp_path, dice=dice, ap=0.9), name="evaluated twice")
        for dice in (0.7, 0.8)
    ]
    assert [result.version for result in results] == ["1", "2"]
    assert client.get_run(results[0].run_id).data.metrics["test_dice_defective"] == 0.8
    assert stored_dice(client, results, tmp_path) == [0.7, 0.8]


def stored_dice(client: mlflow.MlflowClient, results: list[Registration], folder: Path) -> list[float | None]:
    """Return the Dice of the evaluations that the runs of these registrations store."""

    def dice(result: Registration) -> float | None:
        file = client.download_artifacts(result.run_id, f"{result.evaluation}/metrics.json", str(folder))
        return Evaluation.read(Path(file).parent).test.dice_defective

    return [dice(result) for result in results]


def test_a_model_folder_without_a_digest_of_its_weights_is_refused(
    registered: Registered, untracked: Path
) -> None:
    values = json.loads((untracked / "model.json").read_text())
    del values["weights_digest"]
    (untracked / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"weights_digest is ''; expected a digest in .*train it again"):
        register(untracked, registered.evaluation)


def test_a_run_without_a_model_folder_is_named(client: mlflow.MlflowClient) -> None:
    run = client.create_run("0").info.run_id
    with pytest.raises(UserError, match=f"its run {run} has no training/history.csv; expected a model"):
        download_model_folder(f"runs:/{run}")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("models:/absent@champion", "absent"),
        ("models:/tinyunet-dagm-class1@loser", "loser"),
        ("models:/tinyunet-dagm-class1/99", "99"),
        ("models:/m-00000000000000000000000000000000", "m-0000"),
        ("https://host/model", "is not a model; expected models:/NAME@champion"),
    ],
)
def test_a_missing_model_is_named_in_one_line(
    registered: Registered, uri: str, words: str, cache: Path
) -> None:
    with pytest.raises(UserError) as caught:
        download_model(uri)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("models/*"))


@pytest.mark.parametrize("uri", ["models:/nobody@champion", "models:/nobody/1"])
def test_an_unregistered_model_is_refused_with_the_expectation(uri: str) -> None:
    expected = r"no registered model 'nobody'(; it has .*: correct the name| and no others; register one)"
    with pytest.raises(UserError, match=expected):
        download_model(uri)
