import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.layouts.trees import picture
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated import shapes
from tinyunet.data.layouts.annotated.shapes import Shape


def drawn(*regions: Shape) -> np.ndarray:
    values = shapes.type_values(region.type_name for region in regions)
    with Image.open(io.BytesIO(shapes.draw(regions, values, lambda: (8, 6)))) as mask:
        return np.asarray(mask)


def test_later_shapes_cover_earlier_ones_and_types_are_numbered_by_name() -> None:
    square = Shape("scratch", "polygon", ((1, 1), (4, 1), (4, 4), (1, 4)))
    bitmap = Shape("dent", "bitmap", ((3, 2),), shapes.pack(np.array([[True, False], [True, True]])))
    expected = np.zeros((6, 8))
    expected[1:5, 1:5] = 2
    expected[2, 3] = expected[3, 3:5] = 1
    assert np.array_equal(drawn(square, bitmap), expected)


def test_an_ellipse_fills_its_box_whatever_corners_are_given() -> None:
    mask = drawn(Shape("a", "ellipse", ((6, 5), (2, 1))))
    assert np.array_equal(mask, drawn(Shape("a", "ellipse", ((2, 1), (6, 5)))))
    assert mask[1:6, 2:7].mean() > 0.7
    assert mask.sum() == mask[1:6, 2:7].sum()


def test_more_labels_than_values_are_an_error() -> None:
    with pytest.raises(UserError, match="256 labels; expected at most 255: join some"):
        shapes.type_values(str(number) for number in range(256))


@pytest.mark.parametrize(("orientation", "size"), [(1, (6, 4)), (6, (4, 6))])
def test_the_size_of_a_picture_is_that_after_its_exif_rotation(
    orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture())).save(buffer, "JPEG", exif=exif)
    assert shapes.picture_size(buffer.getvalue) == size


def test_regions_of_the_background_are_known_by_their_label(tmp_path: Path) -> None:
    assert [shapes.is_background(label) for label in ("_background_", "Void", "hole")] == [True, True, False]


@pytest.mark.parametrize("kind", ["polygon", "ellipse", "bitmap"])
@pytest.mark.parametrize("far", [math.nan, math.inf, -1e300, 2.0**21])
def test_a_corner_far_outside_the_image_is_an_error(kind: str, far: float) -> None:
    region = Shape("dent", kind, ((far, 1), (4, 4)), shapes.pack(np.ones((2, 2), bool)))
    with pytest.raises(
        UserError, match=r"label 'dent' with a corner at \(.*, 1\), far outside the image of 8×6"
    ):
        drawn(region)


@pytest.mark.parametrize("kind", ["polygon", "ellipse"])
@pytest.mark.parametrize(
    "corners", [((8, 1), (9, 4)), ((1, 6), (4, 9)), ((-4, 1), (-1, 4)), ((1, -4), (4, -1))]
)
def test_a_shape_outside_the_image_is_an_error_and_one_that_touches_it_is_drawn(
    kind: str, corners: tuple[tuple[float, float], ...]
) -> None:
    with pytest.raises(
        UserError, match="label 'dent' outside the image of 8×6 pixels; correct the annotation"
    ):
        drawn(Shape("dent", kind, corners))
    assert drawn(Shape("dent", kind, (corners[0], (4, 3)))).any()


@pytest.mark.parametrize("corner", [(9, 1), (1, 7), (-3, 1), (1, -2)])
def test_a_bitmap_outside_the_image_is_an_error_too(corner: tuple[float, float]) -> None:
    bitmap = shapes.pack(np.ones((2, 3), bool))
    with pytest.raises(UserError, match="label 'dent' outside the image of 8×6 pixels"):
        drawn(Shape("dent", "bitmap", (corner,), bitmap))
    assert drawn(Shape("dent", "bitmap", ((-2, -1),), bitmap)).sum() == 1


@pytest.mark.parametrize("relative", [False, True])
def test_a_polygon_that_was_cut_to_a_line_at_a_side_has_no_area_and_is_no_error(relative: bool) -> None:
    width, height = (1, 1) if relative else (8, 6)
    right = ((width, 0.2 * height), (width, 0.8 * height), (width, 0.5 * height))
    below = ((0.2 * width, height), (0.8 * width, height), (0.5 * width, height))
    for corners in (right, below):
        assert not drawn(Shape("dent", "polygon", corners, relative=relative)).any()


def test_a_corner_of_a_hole_or_of_fractions_is_checked_too() -> None:
    square = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5))
    for region in (
        Shape("a", "polygon", square, holes=(((math.nan, 0.0), (1.0, 1.0), (1.0, 0.0)),)),
        Shape("a", "polygon", (*square, (0.0, 1e6)), relative=True),
    ):
        with pytest.raises(UserError, match="far outside"):
            drawn(region)
