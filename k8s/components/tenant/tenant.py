"""Create what a team has in MLflow and in MinIO, each only if it does not exist.

That is a workspace with a user and, if the command line names one, a bucket with a key. The Job in job.yaml
runs this file in the image of the servers. Environment: MLFLOW_TRACKING_URI and ADMIN_PASSWORD of MLflow, the
variables of key.py's administrator, and those of the team with the prefix TEAM_.
"""

import os
import sys

import requests
from key import permit

TIMEOUT_S = 60
ROLE = "team"
# Without a trace, no team can name the files of another team as those of its trace, which MLflow would
# read with the key of the store.
PERMISSIONS = {
    ("workspace", "USE"),
    ("experiment", "MANAGE"),
    ("registered_model", "MANAGE"),
    ("trace", "DENY"),
}


class Administrator:
    """MLflow's API, with the password of the administrator."""

    def __init__(self, address: str, password: str) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # the services of the cluster are reached without a proxy
        self._session.auth = ("admin", password)
        self._address = address.rstrip("/")

    def call(self, method: str, path: str, *, existing: bool = False, **values: object) -> dict:
        """Return the answer to a request; with `existing`, what exists already is no error.

        Raises:
            requests.HTTPError: if MLflow refuses the request.
        """
        given = {"params" if method == "GET" else "json": values}
        response = self._session.request(method, f"{self._address}/api/{path}", timeout=TIMEOUT_S, **given)
        if existing and response.status_code in (400, 409) and "ALREADY_EXISTS" in response.text:
            return {}
        response.raise_for_status()
        return response.json() if response.content else {}


def add_user(mlflow: Administrator, address: str, name: str, password: str) -> None:
    """Create the user, or give the one that exists this password."""
    mlflow.call("POST", "2.0/mlflow/users/create", existing=True, username=name, password=password)
    own = requests.get(f"{address}/api/2.0/mlflow/users/current", auth=(name, password), timeout=TIMEOUT_S)
    if own.status_code == requests.codes.unauthorized:
        mlflow.call("PATCH", "2.0/mlflow/users/update-password", username=name, password=password)


def add_role(mlflow: Administrator, workspace: str) -> None:
    """Create the role of the workspace with its permissions, and give it to the user of the same name."""
    roles = mlflow.call("GET", "3.0/mlflow/roles/list", workspace=workspace)["roles"]
    role = next((one for one in roles if one["name"] == ROLE), None)
    if role is None:
        role = mlflow.call("POST", "3.0/mlflow/roles/create", name=ROLE, workspace=workspace)["role"]
    present = {(one["resource_type"], one["permission"]) for one in role["permissions"]}
    for kind, permission in sorted(PERMISSIONS - present):
        mlflow.call(
            "POST", "3.0/mlflow/roles/permissions/add",
            role_id=role["id"], resource_type=kind, resource_pattern="*", permission=permission,
        )  # fmt: skip
    users = mlflow.call("GET", "3.0/mlflow/roles/users/list", role_id=role["id"])["assignments"]
    if not users:
        mlflow.call("POST", "3.0/mlflow/roles/assign", role_id=role["id"], username=workspace)


def add_team(team: dict[str, str], address: str, password: str) -> None:
    """Create the team, whose variables have no prefix here."""
    mlflow, name = Administrator(address, password), team["MLFLOW_WORKSPACE"]
    mlflow.call("POST", "3.0/mlflow/workspaces", existing=True, name=name)
    add_user(mlflow, address, team["MLFLOW_TRACKING_USERNAME"], team["MLFLOW_TRACKING_PASSWORD"])
    add_role(mlflow, name)
    print(f"user {name} has the workspace {name}")


if __name__ == "__main__":
    own = {key.removeprefix("TEAM_"): value for key, value in os.environ.items() if key.startswith("TEAM_")}
    add_team(own, os.environ["MLFLOW_TRACKING_URI"].rstrip("/"), os.environ["ADMIN_PASSWORD"])
    for bucket in sys.argv[1:]:
        permit(bucket, own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"])
