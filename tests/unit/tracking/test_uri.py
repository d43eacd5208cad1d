"""The address of MLflow, and the file of its database."""

import sys
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.tracking.uri import database_path, default_uri, tracking_uri


@pytest.mark.parametrize(
    "uri", ["postgresql+psycopg2://u:p@db/mlflow", "sqlite:////here/m.db", "https://host"]
)
def test_a_scheme_may_contain_a_driver(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri() == uri


def test_a_database_uri_with_too_few_slashes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:/tmp/m.db")
    with pytest.raises(UserError, match=r"is 'sqlite:/tmp/m\.db'; expected sqlite:////absolute"):
        tracking_uri()


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("sqlite:////here/m.db", Path("/here/m.db")),
        ("sqlite+pysqlite:////here/my%20runs/m.db", Path("/here/my runs/m.db")),
        ("sqlite:///m.db", Path.cwd() / "m.db"),
        ("sqlite://", None),
        ("sqlite:////here/C# 1/m.db", Path("/here/C# 1/m.db")),
        ("https://host/m.db", None),
        ("mysqlx-plugin://host/m.db", None),
        ("sqlite-plugin:////here/m.db", None),
    ],
)
def test_the_database_path_is_the_file_that_sqlalchemy_opens(uri: str, database: Path | None) -> None:
    from sqlalchemy.engine import make_url

    assert database_path(uri) == database
    if database:
        assert database == Path(make_url(uri).database or "").absolute()


@pytest.mark.parametrize("name", ["C# runs", "100%20", "what?", "ä+b"])
def test_the_default_database_is_in_the_working_folder_for_any_folder_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    assert database_path(default_uri()) == tmp_path / name / "runs" / "mlflow.db"


@pytest.mark.parametrize("uri", ["http://[::1", "http://host:port", "https://", f"http://{'a' * 64}.de"])
def test_an_address_that_no_client_can_read_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI is '.*'; expected an MLflow server"):
        tracking_uri()


@pytest.mark.parametrize(
    "uri", ["mysql+none://u:pw/5@h/d", "mssql+pyodbc://u:pw5@h:x/d", "mysql://u:pw5@[::1/d"]
)
def test_the_address_of_a_database_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises(UserError, match=r"MLFLOW_TRACKING_URI is 'my?s.*://\*\*\*@.*'; expected") as caught:
        database_path(uri)
    assert "5" not in str(caught.value)


def test_the_missing_driver_of_a_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(UserError, match="the package psycopg2, which connects to this database, is not"):
        database_path("postgresql+psycopg2://u:p@h/d")
