"""A registry in a real database."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import mlflow
import pytest

from tinyunet.registry.registration_lock import registration_lock
from tinyunet.registry.versions import update_champion
from tinyunet.tracking.client import open_client

NAME = "model"


@pytest.fixture
def client(database: Path) -> mlflow.MlflowClient:
    """Return a client of a registry with one registered model, which has no version."""
    client = open_client(existing=True)
    client.create_registered_model(NAME)
    return client


def register_at_once(client: mlflow.MlflowClient, name: str, dices: list[float]) -> list[bool]:
    """Register a version for each Dice at the same moment, and return which ones became champion."""
    run, start = client.create_run("0").info.run_id, Barrier(len(dices))

    def register(dice: float) -> bool:
        tags = {"test_digest": "d", "dice_defective": str(dice), "image_ap": "0.9"}
        start.wait()
        with registration_lock(client, name):
            version = client.create_model_version(name, "s3://tinyunet/none", tags=tags).version
            return update_champion(client, run, name, str(version))[0]

    with ThreadPoolExecutor(len(dices)) as pool:
        return list(pool.map(register, dices))
