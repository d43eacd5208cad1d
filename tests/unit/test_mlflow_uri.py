"""Which MLflow is meant, and where its database lies."""

from pathlib import Path

import pytest

from tinyunet.runtime.mlflow_uri import database_of, tracking_uri


@pytest.mark.parametrize(
    "uri", ["postgresql+psycopg2://u:p@db/mlflow", "sqlite:////here/m.db", "https://host"]
)
def test_a_store_may_name_its_driver(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri() == uri


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("sqlite:////here/m.db", Path("/here/m.db")),
        ("sqlite+pysqlite:////here/my%20runs/m.db", Path("/here/my runs/m.db")),
        ("sqlite:///m.db", Path.cwd() / "m.db"),
        ("sqlite://", None),
        ("https://host/m.db", None),
    ],
)
def test_a_database_is_the_file_that_sqlalchemy_opens(uri: str, database: Path | None) -> None:
    from sqlalchemy.engine import make_url

    assert database_of(uri) == database
    if database:
        assert database == Path(make_url(uri).database or "").absolute()
