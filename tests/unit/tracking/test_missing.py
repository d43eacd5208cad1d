"""The errors for models, versions and aliases that a real MLflow does not have."""

from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.tracking.client import experiment_id, open_client
from tinyunet.tracking.download import find_model


def refusal(uri: str) -> str:
    with pytest.raises(UserError) as caught:
        find_model(uri)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_is_named_with_what_exists(database: Path) -> None:
    client = open_client()
    none = f"MLFLOW_TRACKING_URI is sqlite:///{database}, which has no registered model 'part'"
    assert refusal("models:/part@champion") == f"{none} and no others; register one, or correct the address"
    client.create_registered_model("other")
    assert refusal("models:/part/1") == f"{none}; it has other: correct the name or the address"
    missing = "the registered model 'other' has no alias best; it has"
    assert refusal("models:/other@best") == f"{missing} no versions: register one"
    for _ in range(10):
        model = client.create_logged_model(experiment_id(client), name="model").model_id
        client.create_model_version("other", f"models:/{model}", model_id=model)
    assert refusal("models:/other@best") == f"{missing} the newest version 10: use models:/other/10"
    for alias in ("champion", "before"):
        client.set_registered_model_alias("other", alias, "9")
    known = "the aliases before (version 9), champion (version 9) and the newest version 10"
    remedy = "use models:/other@before or models:/other/10"
    assert refusal("models:/other@best") == f"{missing} {known}: {remedy}"
    assert "'other' has no version 11" in refusal("models:/other/11")
