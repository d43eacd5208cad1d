"""Whether an MLflow server can be used by a run, before the run prepares anything for it."""

import re

import pytest

from tests.unit.devtools.test_reachability import http_server
from tinyunet.core.errors import Unreachable
from tinyunet.tracking.server import ServerProblem, require_server


@pytest.mark.parametrize("version", ["3.0.0", "3.17.2", "4.1.0rc0"])
def test_a_server_with_logged_models_is_accepted(version: str) -> None:
    with http_server(200, version) as url:
        require_server(url)


def test_a_server_without_logged_models_is_refused() -> None:
    with http_server(200, "2.22.1") as url:
        expected = re.escape(f"MLflow at {url} is 2.22.1; expected 3.0 or newer; update the server")
        with pytest.raises(ServerProblem, match=expected):
            require_server(url)


@pytest.mark.parametrize(
    ("pod", "remedy"),
    [("", "make services"), ("10.0.0.1", "make connect NAMESPACE=this-namespace")],
)
def test_the_remedy_for_a_dead_server_depends_on_where_the_run_is(
    pod: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", pod)
    with pytest.raises(Unreachable, match=re.escape(remedy)):
        require_server("http://127.0.0.1:9")


def test_a_database_needs_no_server() -> None:
    require_server("sqlite:///runs/mlflow.db")
