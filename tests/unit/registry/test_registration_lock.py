"""The lock of a registered model in a real database; tests/services uses a server."""

import secrets

import mlflow
import pytest

from tests.unit.registry.conftest import NAME, register_at_once
from tinyunet.core.errors import UserError
from tinyunet.registry import registration_lock as module
from tinyunet.registry.registration_lock import PREFIX, registration_lock

PROCESSES = 6


def test_of_registrations_at_the_same_moment_the_best_one_is_champion(client: mlflow.MlflowClient) -> None:
    dices = [0.5 + i / 100 for i in range(PROCESSES)]
    secrets.SystemRandom().shuffle(dices)
    register_at_once(client, NAME, dices)
    champion = client.get_model_version_by_alias(NAME, "champion")
    assert float(champion.tags["dice_defective"]) == max(dices)
    model = client.get_registered_model(NAME)
    assert not [tag for tag in model.tags if tag.startswith(PREFIX)]
    assert len(client.search_model_versions(f"name = '{NAME}'")) == PROCESSES


def test_a_process_that_was_killed_in_the_queue_is_ignored_after_its_lease(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LEASE_S", 0.4)
    monkeypatch.setattr(module, "REPORT_S", 0.2)
    for number in ("0", "7"):
        client.set_registered_model_tag(NAME, f"{PREFIX}killed{number}", number)
    with registration_lock(client, NAME):
        tags = client.get_registered_model(NAME).tags
        assert [value for key, value in tags.items() if key.startswith(PREFIX)] == ["8"]
    assert client.get_registered_model(NAME).tags == {}
    assert capsys.readouterr().err.startswith(f"waiting for another registration of '{NAME}', at most")


def test_a_process_that_lost_its_number_does_not_continue(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set_registered_model_tag(NAME, f"{PREFIX}other", "1")

    def remove_all(_: float) -> None:
        for tag in client.get_registered_model(NAME).tags:
            client.delete_registered_model_tag(NAME, tag)

    monkeypatch.setattr("time.sleep", remove_all)
    removed = pytest.raises(UserError, match="removed this one from the queue of 'model'")
    with removed, registration_lock(client, NAME):
        pytest.fail("it holds the lock without a number")
