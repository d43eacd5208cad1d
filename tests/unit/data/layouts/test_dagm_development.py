"""The development edition of DAGM2007, whose labels are ellipses."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyunet.core.errors import UserError
from tinyunet.data.layouts import dagm_development as development
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.sources.trees import FolderTree

LABELS = "1\t20\t5\t0\t30\t25\r\n2 \t 20.5 \t 5 \t 1.5707963 \t 30 \t 25\t\r\n"


def _class(root: Path, number: int = 1, labels: str = LABELS) -> Path:
    for folder, count in ((f"Class{number}", 3), (f"Class{number}_def", 2)):
        (root / folder).mkdir(parents=True)
        for n in range(1, count + 1):
            Image.fromarray(np.full((50, 64), n, np.uint8)).save(root / folder / f"{n}.png")
    (root / f"Class{number}_def" / "labels.txt").write_text(labels)
    return root


def test_images_of_both_folders_are_listed_with_masks_that_are_drawn(tmp_path: Path) -> None:
    tree = FolderTree(_class(tmp_path))
    assert development.recognise(tree)
    listing = development.list_samples(tree, LayoutOptions())
    assert (listing.category, listing.problems) == ("class1", ())
    assert [(s.name, s.split, s.defective) for s in listing.samples] == [
        ("0001", "", False), ("0002", "", False), ("0003", "", False), ("def_0001", "", True),
        ("def_0002", "", True),
    ]  # fmt: skip
    mask = listing.samples[3].mask
    assert mask is not None
    assert mask.name == "Class1_def/labels.txt, line 1"
    pixels = np.asarray(Image.open(io.BytesIO(mask.read())))
    assert pixels.shape == (50, 64)
    assert set(np.unique(pixels)) == {0, 255}
    assert math.pi * 20 * 5 * 0.95 < (pixels > 0).sum() < math.pi * 20 * 5 * 1.05


def test_the_angle_turns_the_major_axis_from_x_towards_y_downwards() -> None:
    def points(angle: float) -> tuple[bool, bool, bool, bool]:
        mask = development.draw(development.Ellipse(20, 5, angle, 30, 25), 60, 60)
        return tuple(bool(mask[y, x]) for y, x in ((25, 48), (43, 30), (37, 42), (13, 42)))  # type: ignore[return-value]

    assert points(0) == (True, False, False, False)
    assert points(math.pi / 2) == (False, True, False, False)
    assert points(math.pi / 4) == (False, False, True, False)
    assert points(-math.pi / 4) == (False, False, False, True)


def test_one_of_several_classes_is_chosen(tmp_path: Path) -> None:
    tree = FolderTree(_class(_class(tmp_path, 2), 10))
    assert development.categories(tree) == ("class2", "class10")
    samples = development.list_samples(tree, LayoutOptions(category="10")).samples
    assert {s.image.name.split("/")[0] for s in samples} == {"Class10", "Class10_def"}
    with pytest.raises(UserError, match="has the categories class2, class10"):
        development.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("1 20 5 0 30 25\n", "Class1_def/2.png: has no row in Class1_def/labels.txt"),
        (LABELS + "3 20 5 0 30 25\n", "labels.txt: line 3 is for image 3, which is missing"),
        (LABELS + "1 20 5 0 30 25\n", "line 3 is '1 20 5 0 30 25', expected a new number, two semi-axes"),
        (LABELS + "3 20 0 0 30 25\n", "line 3 is '3 20 0 0 30 25', expected"),
        (LABELS + "inf 20 1 0 30 25\n", "line 3 is 'inf 20 1 0 30 25', expected"),
        (LABELS + "3 20 1 nan 30 25\n", "line 3 is '3 20 1 nan 30 25', expected"),
        (LABELS + "a b\n", "line 3 is 'a b', expected"),
    ],
)
def test_a_fault_of_the_list_is_named(tmp_path: Path, labels: str, message: str) -> None:
    tree = FolderTree(_class(tmp_path, labels=labels))
    problems = development.list_samples(tree, LayoutOptions()).problems
    assert [problem for problem in problems if message in str(problem)]


def test_an_image_that_cannot_be_decoded_has_no_mask(tmp_path: Path) -> None:
    (_class(tmp_path) / "Class1_def" / "1.png").write_bytes(b"x")
    mask = development.list_samples(FolderTree(tmp_path), LayoutOptions()).samples[3].mask
    assert mask is not None
    with pytest.raises(UserError, match=r"^has no mask, because its image cannot be decoded"):
        mask.read()
