import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.layouts.trees import mask_of, picture, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import pairs
from tinyunet.data.layouts.base import LayoutOptions, Listing


def mask(column: int, value: int = 255, width: int = 6) -> bytes:
    """Return a mask of 4 rows with one defective column."""
    levels = np.zeros((4, width), np.uint8)
    levels[:, column] = value
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def listed(folder: Path, *names: str, **files: bytes) -> Listing:
    return pairs.list_samples(tree_of(folder, *names, **files), LayoutOptions())


def columns_of(listing: Listing, name: str) -> list[int]:
    return [int(value) for value in mask_of(listing, name)[0]]


def test_masks_in_a_folder_of_each_type_are_joined_to_one_with_types(tmp_path: Path) -> None:
    files = {"masks__pit__a_png": mask(0), "masks__crack__a_png": mask(2, 1), "masks__pit__b_png": mask(3, 0)}
    listing = listed(tmp_path, "images/a.jpg images/b.jpg", **files)
    assert columns_of(listing, "a") == [2, 0, 1, 0, 0, 0]
    assert columns_of(listing, "b") == [0] * 6
    assert listing.type_names == {1: "crack", 2: "pit"}
    assert "several masks for an image: 2 images, 2 masks" in listing.found
    assert (listing.problems, listing.ignored) == ((), ())


def test_all_masks_beside_the_only_image_of_a_folder_are_joined(tmp_path: Path) -> None:
    files = {f"{part}__masks__{n}_png": mask(n) for part in ("p1", "p2") for n in (0, 4)}
    listing = listed(tmp_path, "p1/images/x.png p2/images/y.png", **files)
    assert [columns_of(listing, sample.name) for sample in listing.samples] == [[1, 0, 0, 0, 1, 0]] * 2
    assert listing.type_names == {1: "defect"}
    assert listing.problems == ()


def test_an_image_without_any_of_the_masks_is_a_problem(tmp_path: Path) -> None:
    files = {"masks__pit__a_png": mask(0), "masks__crack__a_png": mask(2), "masks__pit__z_png": mask(3)}
    listing = listed(tmp_path, "images/a.jpg images/b.jpg", **files)
    assert [problem.file for problem in listing.problems] == ["images/b.jpg", "masks/pit/z.png"]


def test_masks_of_different_sizes_are_not_joined(tmp_path: Path) -> None:
    files = {"masks__pit__a_png": mask(0), "masks__crack__a_png": mask(2, width=5)}
    listing = listed(tmp_path, "images/a.jpg", **files)
    with pytest.raises(UserError, match=r"differ in size: masks/pit/a.png is 6×4, masks/crack/a.png 5×4"):
        mask_of(listing, "a")


def test_a_second_folder_of_masks_beside_the_right_one_is_a_problem_as_before(tmp_path: Path) -> None:
    listing = listed(tmp_path, "images/a.jpg", masks__a_png=mask(0), masks__old__a_png=picture())
    assert [str(problem) for problem in listing.problems] == ["masks/old/a.png: is a mask without an image"]


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (np.arange(100, 124, dtype=np.uint8).reshape(4, 6), "which is no mask: most of its pixels"),
        (
            np.eye(4, 6, dtype=np.uint8) + np.eye(4, 6, 1, np.uint8) * 2,
            "which holds several values; expected",
        ),
    ],
    ids=["a mask drawn on its image", "several types in one file"],
)
def test_a_file_that_is_no_mask_of_one_type_is_not_joined(
    tmp_path: Path, levels: np.ndarray, message: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    files = {"masks__pit__a_png": mask(0), "masks__crack__a_png": buffer.getvalue()}
    listing = listed(tmp_path, "images/a.jpg", **files)
    with pytest.raises(UserError, match=f"include masks/crack/a.png, {message}"):
        mask_of(listing, "a")


def test_numbered_masks_of_an_image_are_joined(tmp_path: Path) -> None:
    files = {f"mask_images__a_mask{n}_png": mask(n) for n in (1, 4)} | {"masks__b_png": mask(2)}
    listing = listed(tmp_path, "defect_images/a.png images/b.png", **files)
    assert listing.problems == ()
    columns = {sample.name[-1]: columns_of(listing, sample.name) for sample in listing.samples}
    assert columns == {"a": [0, 1, 0, 0, 1, 0], "b": [0, 0, 1, 0, 0, 0]}
    assert "several masks for an image: 2 images, 2 masks" in listing.found
