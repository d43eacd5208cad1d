"""Model versions and the alias `champion` in a real MLflow registry."""

import json
import os
import secrets
import shutil
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml

from tests.conftest import Registered
from tinyunet.cli.main import parse
from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.core.files import read_json
from tinyunet.data.dataset import load_split
from tinyunet.evaluation.evaluate import evaluate
from tinyunet.evaluation.summary import headline
from tinyunet.registry.register import register
from tinyunet.serving.predict import load_serving
from tinyunet.tracking.download import download_model, download_model_folder


@pytest.fixture
def client() -> mlflow.MlflowClient:
    return mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def stranger(registered: Registered, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The registered model as if trained without this server; its own run lies in another experiment."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"strangers of {tmp_path.name}")
    model = tmp_path / "model"
    shutil.copytree(registered.model, model)
    summary = read_json(model / "model.json") | {"mlflow": None}
    (model / "model.json").write_text(json.dumps(summary))
    return model


def judged(registered: Registered, folder: Path, *, dice: float, ap: float, digest: str = "d" * 64) -> Path:
    """The evaluation of the registered model, with other scores."""
    metrics = read_json(registered.evaluation / "metrics.json")
    metrics["test"] |= {"dice_defective": dice, "image_ap": ap}
    metrics["data"]["test_digest"] = digest
    out = folder / f"{dice}-{ap}-{digest[:1]}"
    out.mkdir(exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(metrics))
    (out / "model_card.md").write_text(f"# Card of dice {dice}\n")
    return out


def test_a_version_is_described_tagged_and_champion(
    client: mlflow.MlflowClient, registered: Registered
) -> None:
    result = registered.result
    assert (result["name"], result["version"]) == ("tinyunet-dagm-class1", "1")
    assert result["champion"] is True
    version = client.get_model_version_by_alias("tinyunet-dagm-class1", "champion")
    metrics = read_json(registered.evaluation / "metrics.json")
    assert int(version.version) == 1
    assert version.run_id == result["run_id"]
    assert version.tags["test_digest"] == metrics["data"]["test_digest"]
    assert float(version.tags["threshold"]) == metrics["threshold"]
    assert version.tags["tinyunet.champion_reason"] == "version 1 is champion: there was none"
    card = (registered.evaluation / "model_card.md").read_text()
    assert version.description == card[:5000]


def test_a_served_model_takes_grey_levels_and_gives_named_outputs(registered: Registered) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, at import
        import mlflow.pyfunc
    served = mlflow.pyfunc.load_model(registered.result["uri"])
    inputs, outputs = served.metadata.signature.inputs, served.metadata.signature.outputs
    assert [(i.type, i.shape) for i in inputs] == [(np.dtype("uint8"), (-1, -1, -1, 1))]
    assert {o.name for o in outputs} == {"probability", "mask", "score", "defective"}
    example = served.input_example
    assert example.shape == (1, 64, 64, 1)
    got = served.predict(example)
    assert got["mask"].shape == (1, 64, 64, 1)
    assert got["score"].shape == (1,)
    assert set(np.unique(got["mask"])) <= {0, 1}
    assert served.predict(np.full((2, 96, 80, 1), 128, np.uint8))["probability"].shape == (2, 96, 80, 1)


def test_a_model_judged_over_eight_poses_is_served_so(
    registered: Registered, stranger: Path, records: Path, tmp_path: Path
) -> None:
    judged = evaluate(stranger, records, tmp_path / "eight", EvalConfig(test_time_poses=8, overlays=0))
    served = load_serving(register(stranger, tmp_path / "eight", name="eight poses")["uri"])
    images = load_split(records, "test", 64).images[..., None]
    scores = [image["score"] for image in judged["images"]]
    np.testing.assert_allclose(served.predict_on_batch(images)["score"], scores, atol=1e-4)
    metadata = yaml.safe_load((download_model("models:/eight poses@champion") / "MLmodel").read_text())
    assert metadata["metadata"]["test_time_poses"] == 8


def test_run_and_model_say_what_they_are_and_a_persons_words_stay(
    client: mlflow.MlflowClient, registered: Registered
) -> None:
    about = client.get_registered_model("tinyunet-dagm-class1").description
    assert about.startswith("Finds and outlines surface defects on the texture of DAGM2007 class 1.")
    run_id, note = registered.result["run_id"], "mlflow.note.content"
    ours = client.get_run(run_id).data.tags[note]
    assert ours.startswith(
        f"Test: {headline(read_json(registered.evaluation / 'metrics.json'))}\n\nNot comparable with NVIDIA's"
    )
    assert f"{registered.result['evaluation']}/report.html" in ours
    client.set_tag(run_id, note, "for line 3")
    register(registered.model, registered.evaluation)
    assert client.get_run(run_id).data.tags[note] == "for line 3"
    client.set_tag(run_id, note, "Test: of old")
    register(registered.model, registered.evaluation)
    assert client.get_run(run_id).data.tags[note] == ours


def test_registering_again_gives_the_same_version(
    client: mlflow.MlflowClient, registered: Registered
) -> None:
    experiment = client.get_run(registered.result["run_id"]).info.experiment_id
    before = [m.model_id for m in client.search_logged_models([experiment])]
    again = register(registered.model, registered.evaluation)
    assert again["version"] == registered.result["version"]
    assert again["champion"] is True
    assert again["reason"] == "version 1 is the champion already"
    assert len(client.search_model_versions("name = 'tinyunet-dagm-class1'")) == 1
    assert [m.model_id for m in client.search_logged_models([experiment])] == before


def test_the_alias_moves_to_the_better_model_on_the_same_test_images_only(
    client: mlflow.MlflowClient, registered: Registered, stranger: Path, tmp_path: Path
) -> None:
    def challenge(weights: str = "", **scores: Any) -> dict[str, Any]:
        summary = read_json(stranger / "model.json") | {"weights_digest": weights or secrets.token_hex(32)}
        (stranger / "model.json").write_text(json.dumps(summary))
        return register(stranger, judged(registered, tmp_path, **scores), name="contest")

    def champion() -> int:
        return int(client.get_model_version_by_alias("contest", "champion").version)

    assert challenge(dice=0.80, ap=0.99)["champion"] is True
    worse = challenge(dice=0.79, ap=1.00)
    assert (worse["version"], worse["champion"], champion()) == ("2", False, 1)
    assert "Dice is not higher" in worse["reason"]
    blind = challenge(dice=0.90, ap=0.97)
    assert (blind["version"], blind["champion"], champion()) == ("3", False, 1)
    assert "AP is lower by more than 0.01" in blind["reason"]
    elsewhere = challenge(dice=0.95, ap=1.00, digest="e" * 64)
    assert (elsewhere["version"], elsewhere["champion"], champion()) == ("4", False, 1)
    assert "judged on other test images" in elsewhere["reason"]
    better = challenge(dice=0.81, ap=0.985, weights="a" * 64)
    assert (better["version"], better["champion"], champion()) == ("5", True, 5)
    assert "test Dice 0.8100 against 0.8000, image AP 0.9850 against 0.9900" in better["reason"]
    for result in (worse, blind, elsewhere, better):
        version = client.get_model_version("contest", result["version"])
        assert version.tags["tinyunet.champion_reason"] == result["reason"]
    assert client.get_run(better["run_id"]).data.tags["tinyunet.champion_reason"] == better["reason"]
    again = challenge(dice=0.5, ap=0.5, digest="e" * 64, weights="a" * 64)
    assert (again["version"], again["champion"], champion()) == ("6", True, 6)
    elsewhere = challenge(dice=0.95, ap=1.00, digest="e" * 64)
    assert (elsewhere["version"], elsewhere["champion"], champion()) == ("4", True, 4), "compared at last"


def test_a_model_trained_without_this_server_gets_one_run_of_its_own(
    client: mlflow.MlflowClient, registered: Registered, stranger: Path, tmp_path: Path
) -> None:
    evaluation = judged(registered, tmp_path, dice=0.5, ap=0.5)
    first = register(stranger, evaluation, name="stranger")
    assert first["run_id"] != registered.result["run_id"]
    again = register(stranger, evaluation, name="stranger")
    assert again == first | {"reason": "version 1 is the champion already"}
    run = client.get_run(first["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["steps"] == "12"
    assert run.data.metrics["test_dice_defective"] == 0.5
    assert run.data.tags["tinyunet.champion_reason"] == "version 1 is champion: there was none"


def test_an_evaluation_of_another_model_is_refused(registered: Registered, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(registered.model, model)
    with (model / "model.keras").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="judges another model than"):
        register(model, registered.evaluation)


def test_a_downloaded_model_is_kept(registered: Registered, cache: Path) -> None:
    folder = download_model("models:/tinyunet-dagm-class1@champion")
    assert (folder / "data" / "model.keras").is_file()
    assert [p.name for p in (cache / "models").iterdir()] == [folder.name]
    before = (folder / "MLmodel").stat().st_ctime_ns
    for uri in (registered.result["uri"], f"models:/{folder.name}"):
        assert download_model(uri) == folder
    assert (folder / "MLmodel").stat().st_ctime_ns == before


def test_a_registered_model_is_judged_and_registered_again_from_the_registry_alone(
    registered: Registered, stranger: Path, records: Path, cache: Path, tmp_path: Path
) -> None:
    first = register(stranger, registered.evaluation, name="fetched")
    uri, again = "models:/fetched@champion", tmp_path / "again"
    for _ in range(2):  # the second time from the cache
        folder = download_model_folder(uri)
    assert (folder / "model.keras").read_bytes() == (stranger / "model.keras").read_bytes()
    summary = read_json(folder / "model.json")
    assert summary == read_json(stranger / "model.json")
    for command in (
        ["evaluate", uri, str(records), "--out", str(again)],
        ["register", f"runs:/{first['run_id']}", str(again), "--name", "fetched"],
    ):
        arguments = parse(command)
        arguments.run(arguments)
    before = read_json(registered.evaluation / "metrics.json")
    assert read_json(again / "metrics.json")["test"] == before["test"]
    kept = f"{first['run_id']}-{summary['weights_digest'][:12]}"
    assert [p.name for p in (cache / "trainings").iterdir()] == [kept]


def test_a_version_keeps_its_own_training_when_its_run_is_trained_anew(
    client: mlflow.MlflowClient, registered: Registered, stranger: Path, tmp_path: Path
) -> None:
    first = register(stranger, judged(registered, tmp_path, dice=0.7, ap=0.9), name="anew")
    before = read_json(stranger / "model.json")
    (stranger / "model.json").write_text(json.dumps(before | {"weights_digest": "f" * 64}))
    client.set_tag(first["run_id"], "weights_digest", "f" * 64)  # as a second training does
    second = register(stranger, judged(registered, tmp_path, dice=0.8, ap=0.9), name="anew")
    assert second["run_id"] == first["run_id"]
    logged = [client.get_model_version("anew", one["version"]).source for one in (first, second)]
    assert all(source.startswith("models:/m-") for source in logged)
    for uri in (first["uri"], logged[0]):
        assert read_json(download_model_folder(uri) / "model.json") == before
    for uri in (second["uri"], logged[1], f"runs:/{first['run_id']}"):
        assert read_json(download_model_folder(uri) / "model.json")["weights_digest"] == "f" * 64


def test_a_version_from_before_weights_were_known_learns_them(
    client: mlflow.MlflowClient, registered: Registered, stranger: Path, tmp_path: Path
) -> None:
    evaluation = judged(registered, tmp_path, dice=0.7, ap=0.9)
    version = register(stranger, evaluation, name="older")["version"]
    client.delete_model_version_tag("older", version, "weights_digest")
    with pytest.raises(UserError, match="register it again"):
        download_model_folder("models:/older@champion")
    assert register(stranger, evaluation, name="older")["version"] == version
    assert download_model_folder("models:/older@champion").is_dir()


def test_an_evaluation_on_other_test_images_leaves_the_runs_own_scores(
    client: mlflow.MlflowClient, registered: Registered, stranger: Path, tmp_path: Path
) -> None:
    scores = {"d": 0.7, "e": 0.2}
    results = [
        register(stranger, judged(registered, tmp_path, dice=dice, ap=0.9, digest=letter * 64))
        for letter, dice in scores.items()
    ]
    run = client.get_run(results[0]["run_id"])
    assert run.data.metrics["test_dice_defective"] == 0.7
    assert run.data.tags["test_digest"] == "d" * 64
    assert kept(client, results, tmp_path) == [0.7, 0.2]


def test_a_second_judgement_on_the_same_test_images_leaves_the_first_ones_report(
    client: mlflow.MlflowClient, registered: Registered, stranger: Path, tmp_path: Path
) -> None:
    results = [
        register(stranger, judged(registered, tmp_path, dice=dice, ap=0.9), name="judged twice")
        for dice in (0.7, 0.8)
    ]
    assert [result["version"] for result in results] == ["1", "2"]
    assert client.get_run(results[0]["run_id"]).data.metrics["test_dice_defective"] == 0.8
    assert kept(client, results, tmp_path) == [0.7, 0.8]


def kept(client: mlflow.MlflowClient, results: list[dict[str, Any]], folder: Path) -> list[float]:
    """Dice of the evaluations that the run of these registrations has kept."""
    return [
        read_json(
            Path(client.download_artifacts(r["run_id"], f"{r['evaluation']}/metrics.json", str(folder)))
        )["test"]["dice_defective"]
        for r in results
    ]


def test_a_model_folder_without_a_digest_of_its_weights_is_refused(
    registered: Registered, stranger: Path
) -> None:
    summary = read_json(stranger / "model.json")
    del summary["weights_digest"]
    (stranger / "model.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"weights_digest is None; expected a digest in .*train it again"):
        register(stranger, registered.evaluation)


def test_a_run_that_keeps_no_model_folder_is_named(client: mlflow.MlflowClient) -> None:
    run = client.create_run("0").info.run_id
    with pytest.raises(UserError, match=f"its run {run} keeps no training/history.csv; expected a model"):
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
def test_an_absent_model_is_named_in_one_line(
    registered: Registered, uri: str, words: str, cache: Path
) -> None:
    with pytest.raises(UserError) as caught:
        download_model(uri)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("models/*"))


@pytest.mark.parametrize("uri", ["models:/nobody@champion", "models:/nobody/1"])
def test_a_model_that_is_not_registered_is_told_with_what_was_expected(uri: str) -> None:
    with pytest.raises(UserError, match=r"nobody.* not found; expected a registered model or a run"):
        download_model(uri)
