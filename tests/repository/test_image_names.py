"""Names of the images in builds, tasks and manifests, and the removal of old test images."""

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from components.base import GPU_IMAGE, IMAGE
from tinyunet.mpijob.example import EXAMPLE, GPU_EXAMPLE

ROOT = Path(__file__).parents[2]


def built(*words: str, tag: str = "", store: str = "") -> list[str]:
    """Return the image names that docker/images.sh prints; its builder is a program that does nothing."""
    output = subprocess.run(
        [ROOT / "docker" / "images.sh", *words],
        env=os.environ | {"BUILDER": "true", "TAG": tag, "STORE_KIND": store},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [line.removeprefix("images: ") for line in output.splitlines()]


def requested() -> set[str]:
    """Return the names of our own images in the manifests."""
    texts = [path.read_text() for path in (ROOT / "k8s").rglob("*.yaml")]
    return {name for text in texts for name in re.findall(r"image: (\S*tinyunet/\S+)", text)}


def test_tasks_and_manifests_request_only_images_that_are_built() -> None:
    assert (EXAMPLE.image, GPU_EXAMPLE.image) == (IMAGE, GPU_IMAGE)
    assert {IMAGE, GPU_IMAGE} <= requested()
    assert requested() <= set(built()) | set(built(store="seaweedfs"))


def test_registry_and_tag_are_part_of_the_image_name() -> None:
    assert built("registry.example.org/", "mlflow", tag="7") == ["registry.example.org/tinyunet/mlflow:7"]


def test_without_a_builder_one_line_states_what_to_install(tmp_path: Path) -> None:
    for program in ("bash", "dirname", "head"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    script = [ROOT / "docker" / "images.sh"]
    done = subprocess.run(script, env={"PATH": str(tmp_path)}, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "images: no docker, podman or buildah found; install one of them, or set BUILDER to its path"
    ]


def test_the_newest_two_archives_of_each_kind_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "cluster")
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path))
    images = importlib.import_module("images")
    folder = tmp_path / "cluster" / "images"
    folder.mkdir(parents=True)
    for age, name in enumerate(("trainer-cpu-3", "trainer-cpu-2", "trainer-cpu-1", "trainer-1")):
        (folder / f"{name}.tar").touch()
        os.utime(folder / f"{name}.tar", (1e9 - age, 1e9 - age))
    images.cached("trainer-cpu-4.tar", lambda part: part.touch())
    assert {path.stem for path in folder.iterdir()} == {"trainer-cpu-4", "trainer-cpu-3", "trainer-1"}
