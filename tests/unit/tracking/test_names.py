"""Names that users choose, in a real MLflow store."""

from pathlib import Path

import mlflow
import pytest

from tinyunet.core.errors import UserError
from tinyunet.registry.versions import MODEL_KEY, find_version
from tinyunet.tracking.client import RUN_KEY, experiment_id, find_run
from tinyunet.tracking.names import check_model_name, experiment_folder

UNUSUAL = ("O'Brien", 'the "best"', "both ' and \"", "back\\", "per%cent", "a_b", "`x`", "größe", "x' OR '1")


@pytest.fixture
def client(database: Path) -> mlflow.MlflowClient:
    uri = f"sqlite:///{database}"
    return mlflow.MlflowClient(uri, registry_uri=uri)


@pytest.mark.parametrize("name", ["", "tinyunet-dagm-class1", "x" * 256, *UNUSUAL])
def test_usable_model_names_are_accepted(name: str) -> None:
    check_model_name(name)


@pytest.mark.parametrize(
    "name", ["team/a", "a:b", "a@b", "a?b", "a#b", "a\nb", "a\0", " a", "a ", " ", ".", "..", "x" * 257]
)
def test_unusable_model_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"^model name is .*; expected .*; choose another name$"):
        check_model_name(name)


def test_runs_and_versions_are_found_under_any_name(client: mlflow.MlflowClient) -> None:
    experiment = client.create_experiment("names")
    runs, versions = {}, {}
    for name in (*UNUSUAL, "a-b"):  # `_` of another key must not match `-`
        runs[name] = client.create_run(experiment, tags={RUN_KEY: name}).info.run_id
        client.create_registered_model(name)
        version = client.create_model_version(name, "s3://b/none", tags={MODEL_KEY: "k1"})
        versions[name] = str(version.version)
    assert {name: find_run(client, experiment, name) for name in runs} == runs
    assert {name: find_version(client, name, "k1") for name in versions} == versions
    assert find_run(client, experiment, "O_Brien") is None
    assert find_version(client, "absent", "k1") is None


@pytest.mark.parametrize("name", ["../../outside", "..", "a/b", "it's 100%", "ü" * 150, "plain name"])
def test_artifacts_of_an_experiment_have_a_folder_beside_the_database(
    name: str, client: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
    run = client.create_run(experiment_id(client)).info.run_id
    client.log_text(run, "text", "file.txt")
    (folder,) = (tmp_path / "mlartifacts").iterdir()
    assert folder.name == experiment_folder(name)
    assert (folder / run / "artifacts" / "file.txt").read_text() == "text"
