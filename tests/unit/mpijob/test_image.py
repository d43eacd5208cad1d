"""The choice of the image of an MPIJob's pods."""

import pytest

from tinyunet.core.errors import UserError
from tinyunet.mpijob import image
from tinyunet.mpijob.image import task_image


def test_the_image_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYUNET_IMAGE", "registry.example.org/trainer:7")
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    assert task_image() == ("registry.example.org/trainer:7", ())


def test_outside_a_task_a_missing_name_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TINYUNET_IMAGE", raising=False)
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    with pytest.raises(UserError, match="TINYUNET_IMAGE is not set"):
        task_image()


class Empty:
    """A cluster without pods."""

    namespace = "team"

    def pod(self, name: str) -> None:
        """Return nothing."""


def test_an_image_that_is_named_needs_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "Cluster", Empty)
    monkeypatch.setenv("KFP_POD_NAME", "train-1")
    monkeypatch.setenv("TINYUNET_IMAGE", "trainer:7")
    assert task_image() == ("trainer:7", ())
    monkeypatch.delenv("TINYUNET_IMAGE")
    with pytest.raises(UserError, match="pod team/train-1 does not exist; set TINYUNET_IMAGE"):
        task_image()
