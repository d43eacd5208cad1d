"""Ingestion of own images: splits, defect types, kinds of picture, faults, and what cannot be learned."""

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.data.ingestion.options import IngestOptions


def _write(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, format=path.suffix[1:].replace("jpg", "jpeg"), **options)
    path.write_bytes(file.getvalue())


def _image(seed: int, shape: Sequence[int] = (12, 16), dtype: type = np.uint8, high: int = 256) -> Any:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def _mask(value: int = 255, shape: tuple[int, int] = (12, 16)) -> Any:
    mask = np.zeros(shape, np.uint8)
    mask[2:6, 3:9] = value
    return mask


def own_data(
    folder: Path, defective: int = 12, clean: int = 12, value: Callable[[int], int] = lambda i: 255
) -> Path:
    """Write images/ and masks/; the first images are defective, and `value` is the value of their masks."""
    for i in range(defective + clean):
        _write(folder / "images" / f"p{i:02d}.png", _image(i))
        _write(folder / "masks" / f"p{i:02d}.png", _mask(value(i) if i < defective else 0))
    return folder


def _ingest(source: Path, out: Path, **options: Any) -> RawManifest:
    return ingest(str(source), out, IngestOptions(**options))


def test_a_folder_without_splits_is_divided_by_type_and_the_division_is_the_same_anywhere(
    tmp_path: Path,
) -> None:
    source = own_data(tmp_path / "Part 7", 20, 20, lambda i: 1 + i % 2)
    first, second = (_ingest(source, tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert (first.dataset, first.category, first.layout) == ("part-7", "", "pairs")
    assert first.split_origin == "made by hash, 70/15/15"
    counts = Counter((file.split, file.defect_type) for file in first.files)
    assert counts == {
        ("train", "1"): 6, ("train", "2"): 6, ("train", ""): 14,
        ("validation", "1"): 2, ("validation", "2"): 2, ("validation", ""): 3,
        ("test", "1"): 2, ("test", "2"): 2, ("test", ""): 3,
    }  # fmt: skip
    for file in first.files:
        assert (tmp_path / "a" / file.image).is_file()
        assert (file.mask is not None) == file.defective
        if file.mask:
            assert set(np.unique(np.asarray(Image.open(tmp_path / "a" / file.mask)))) == {0, 255}


def test_equal_images_are_in_one_split(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    for i in range(8):
        _write(source / "images" / f"copy{i}.png", _image(23))
        _write(source / "masks" / f"copy{i}.png", _mask(0))
    files = _ingest(source, tmp_path / "out").files
    assert len({file.split for file in files if file.name.startswith("copy") or file.name == "p23"}) == 1


def test_the_same_image_in_train_and_test_is_refused_and_can_be_left_out(tmp_path: Path) -> None:
    for split in ("train", "test"):
        own_data(tmp_path / "parts" / split)
    for path in (tmp_path / "parts" / "test" / "images").iterdir():
        if path.name != "p00.png":
            _write(path, _image(100 + int(path.stem[1:])))
    with pytest.raises(UserError, match=r"1 problem: .*p00\.png: has the same pixels as .*p00\.png of"):
        _ingest(tmp_path / "parts", tmp_path / "out")
    manifest = _ingest(tmp_path / "parts", tmp_path / "out", allow_partial=True)
    assert (manifest.splits["train"].images, manifest.splits["test"].images) in ((24, 23), (23, 24))
    assert any("p00.png: has the same pixels" in note and "left out" in note for note in manifest.notes)


def test_train_and_validation_images_without_test_images_are_used_for_test(tmp_path: Path) -> None:
    for n, split in enumerate(("train", "val")):
        own_data(tmp_path / "parts" / split)
        for path in (tmp_path / "parts" / split / "images").iterdir():
            _write(path, _image(1000 * n + int(path.stem[1:])))
    manifest = _ingest(tmp_path / "parts", tmp_path / "out")
    assert {split: counts.images for split, counts in manifest.splits.items()} == {"train": 24, "test": 24}
    assert "validation images are the test images" in manifest.split_origin


@pytest.mark.parametrize(
    ("channels", "colour", "expected"),
    [("auto", True, 3), ("auto", False, 1), ("1", True, 1), ("3", False, 3)],
)
def test_the_number_of_channels_follows_the_colours_or_the_option(
    tmp_path: Path, channels: str, colour: bool, expected: int
) -> None:
    source = own_data(tmp_path / "parts")
    for i in range(6):
        grey = _image(i)
        _write(source / "images" / f"p{i:02d}.png", np.stack([grey, grey // 2 if colour else grey, grey], -1))
    manifest = _ingest(source, tmp_path / "out", channels=channels)
    assert manifest.channels == expected
    file = next(file for file in manifest.files if file.name == "p00")
    with Image.open(tmp_path / "out" / file.image) as image:
        assert image.mode == ("RGB" if colour else "L")


def test_16_bit_images_keep_their_values_and_their_range_is_stored(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    pixels = {f"p{i:02d}": 100 + _image(i, dtype=np.uint16, high=3996) for i in range(24)}
    for name, image in pixels.items():
        _write(source / "images" / f"{name}.png", image)
    manifest = _ingest(source, tmp_path / "out")
    values = np.stack(list(pixels.values()))
    assert (manifest.bits, manifest.levels) == (16, (values.min(), values.max()))
    for file in manifest.files:
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / file.image)), pixels[file.name])


def test_images_of_different_sizes_and_formats_are_one_data_set(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    (source / "images" / "p01.png").unlink()
    _write(source / "images" / "p01.bmp", _image(1, (40, 20)))
    _write(source / "masks" / "p01.png", _mask(255, (40, 20)))
    manifest = _ingest(source, tmp_path / "out")
    assert manifest.image_shape == (40, 20)
    sizes = {np.asarray(Image.open(tmp_path / "out" / file.image)).shape for file in manifest.files}
    assert sizes == {(12, 16), (40, 20)}


def test_an_image_with_an_exif_rotation_and_its_mask_are_turned_alike(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    (source / "images" / "p02.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    _write(source / "images" / "p02.jpg", _image(2), exif=exif)
    manifest = _ingest(source, tmp_path / "out")
    (file,) = [file for file in manifest.files if file.name == "p02"]
    assert np.asarray(Image.open(tmp_path / "out" / file.image)).shape == (16, 12)
    mask = np.asarray(Image.open(tmp_path / "out" / str(file.mask)))
    assert np.array_equal(mask, np.rot90(_mask(), -1))


def _other_size(source: Path) -> None:
    _write(source / "masks" / "p03.png", _mask(255, (20, 20)))


def _truncate(source: Path) -> None:
    path = source / "images" / "p03.png"
    path.write_bytes(path.read_bytes()[:100])


def _link(source: Path) -> None:
    (source / "images" / "p03.png").unlink()
    (source / "images" / "p03.png").symlink_to(source / "nowhere")


def _sixteen_bits(source: Path) -> None:
    _write(source / "images" / "p03.png", _image(3, dtype=np.uint16, high=4096))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "mask of another size": (_other_size, r"masks/p03\.png: .*20×20"),
    "truncated image": (_truncate, r"images/p03\.png: is truncated or damaged"),
    "broken link": (_link, r"images/p03\.png: .*broken link"),
    "other number of bits": (_sixteen_bits, r"images/p03\.png: is 16-bit grey, but most images have 8 bits"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_refuses_the_data_set_in_one_line_and_is_left_out_if_wanted(
    tmp_path: Path, fault: str
) -> None:
    source = own_data(tmp_path / "parts")
    spoil, message = FAULTS[fault]
    spoil(source)
    with pytest.raises(UserError, match=message) as caught:
        _ingest(source, tmp_path / "new" / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    manifest = _ingest(source, tmp_path / "out", allow_partial=True)
    assert sorted(file.name for file in manifest.files) == [f"p{i:02d}" for i in range(24) if i != 3]
    assert any("it is left out" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("defective", "clean", "message"),
    [
        (
            0,
            12,
            "has no defective image among 12; 20 defective images are a good start, at least 3 are",
        ),
        (1, 12, "has only 1 defective image among 13"),
        (2, 12, "has only 2 defective images among 14"),
    ],
)
def test_a_data_set_with_nothing_to_learn_says_what_would_be_enough(
    tmp_path: Path, defective: int, clean: int, message: str
) -> None:
    source = own_data(tmp_path / "parts", defective, clean)
    with pytest.raises(UserError, match=message):
        _ingest(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_data_set_of_defective_images_only_is_accepted_with_a_note(tmp_path: Path) -> None:
    manifest = _ingest(own_data(tmp_path / "parts", 12, 0), tmp_path / "out")
    assert any("there will be no image-level scores" in note for note in manifest.notes)
    assert all(counts.images == counts.defective for counts in manifest.splits.values())


def test_a_test_without_defects_is_noted(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts", 4, 3)
    for split, numbers in (("train", range(5)), ("test", range(5, 7))):
        (source / f"{split}.txt").write_text("".join(f"p{number:02d}\n" for number in numbers))
    manifest = _ingest(source, tmp_path / "out")
    assert (manifest.split_origin, manifest.splits["test"].defective) == ("given", 0)
    assert "no image of the test has a defect, so there will be no scores of defects" in manifest.notes


def test_a_type_with_two_images_is_noted(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts", 12, 12, lambda i: 1 if i < 10 else 2)
    notes = _ingest(source, tmp_path / "out").notes
    assert any("types with too few images: 2 (2); 3 are needed" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "80/20"}, "split is '80/20'; expected percentages for train, validation and test"),
        ({"split": "70/20/20"}, "split is '70/20/20'"),
        ({"split": "100/0/0"}, "split is '100/0/0'"),
        ({"channels": "4"}, "channels is '4'; expected one of auto, 1, 3"),
        ({"unmasked": "good"}, "unmasked is 'good'; expected one of refused, clean"),
        ({"name": "Part 7"}, "name is 'Part 7'; expected lower-case letters, digits and -"),
        ({"layout": "coco8"}, "--layout is 'coco8'; expected one of dagm, "),
        ({"category": "bottle"}, r"category is 'bottle', but .* has no categories \(layout pairs\)"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    source = own_data(tmp_path / "parts")
    with pytest.raises(UserError, match=message):
        _ingest(source, tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_the_report_shows_what_was_found_and_the_types(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts", 12, 12, lambda i: 1 + i % 2)
    manifest = _ingest(source, tmp_path / "out", name="line-3")
    assert manifest.full_name == "line-3"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<title>line-3: validation of the data</title>" in page
    assert "Defect types" in page
    assert "official" not in page
    assert "defective (2)" in page
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["official"] == {}
    assert report["found"].startswith("images/ beside masks/")


def test_images_of_two_given_splits_that_are_divided_anew_keep_their_pixels(tmp_path: Path) -> None:
    for n, split in enumerate(("val", "test")):
        own_data(tmp_path / "parts" / split)
        for path in (tmp_path / "parts" / split / "images").iterdir():
            _write(path, _image(1000 * n + int(path.stem[1:])))
    manifest = _ingest(tmp_path / "parts", tmp_path / "out")
    assert set(manifest.splits) == {"train", "validation", "test"}
    assert len({file.pixels_sha256 for file in manifest.files}) == 48
    assert sum(1 for _ in (tmp_path / "out" / "images").rglob("*.png")) == 48
    assert any("the given splits test, validation are not used" in note for note in manifest.notes)


def test_a_data_set_of_one_group_is_refused(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    rows = [f"images/p{i:02d}.png,masks/p{i:02d}.png,g" for i in range(24)]
    (source / "labels.csv").write_text("image,mask,group\n" + "\n".join(rows))
    with pytest.raises(UserError, match="has no image for the test; images of one group are in one split"):
        _ingest(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "other"}, "these images with dataset='parts', not 'other'"),
        ({"channels": "3"}, "these images with channels=1, not 3"),
        ({"split": "69/16/15"}, "these images with split_origin='made by hash, 70/15/15', not '.*69/16/15"),
    ],
)
def test_other_options_for_the_same_folder_are_refused(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    source = own_data(tmp_path / "parts")
    _ingest(source, tmp_path / "out")
    with pytest.raises(UserError, match=f"out holds {message}"):
        _ingest(source, tmp_path / "out", **options)


def test_another_layout_or_type_of_the_same_images_is_refused(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    _ingest(source, tmp_path / "found")
    rows = [f"images/p{i:02d}.png,masks/p{i:02d}.png,dent" for i in range(24)]
    table = source / "labels.csv"
    table.write_text("image,mask,type\n" + "\n".join(rows))
    with pytest.raises(UserError, match="holds these images with layout='pairs', not 'table'"):
        _ingest(source, tmp_path / "found")
    _ingest(source, tmp_path / "out")
    table.write_text(table.read_text().replace("dent", "scratch"))
    with pytest.raises(UserError, match=r"holds the image p.* with defect_type='dent', not 'scratch'"):
        _ingest(source, tmp_path / "out")


def test_a_polygon_on_a_turned_photograph_stays_where_it_was_drawn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # half a turn, so that the size says nothing
    for i in range(6):
        _write(tmp_path / "parts" / f"p{i}.jpg", _image(i), exif=exif)
        shape = {"label": "dent", "points": [[1, 1], [6, 1], [6, 4], [1, 4]], "shape_type": "polygon"}
        content = {"imagePath": f"p{i}.jpg", "imageWidth": 16, "imageHeight": 12, "shapes": [shape]}
        (tmp_path / "parts" / f"p{i}.json").write_text(json.dumps(content))
    manifest = _ingest(tmp_path / "parts", tmp_path / "out")
    mask = np.asarray(Image.open(tmp_path / "out" / str(manifest.files[0].mask)))
    assert mask[2, 3] == 255
    assert not mask[6:].any()


def test_pictures_that_belong_to_no_sample_are_noted(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    _write(source / "spare" / "x.png", _image(99))
    notes = _ingest(source, tmp_path / "out").notes
    assert any("are ignored: 1, such as spare/x.png" in note for note in notes)


@pytest.mark.parametrize(("value", "words"), [(0, "no mask"), (255, "another mask")])
def test_copies_of_an_image_with_contradicting_masks_are_refused_or_left_out(
    tmp_path: Path, value: int, words: str
) -> None:
    source = own_data(tmp_path / "parts")
    _write(source / "images" / "copy.png", _image(0))
    _write(source / "masks" / "copy.png", _mask(value).T.reshape(12, 16))
    with pytest.raises(UserError, match=f"copy.png, which has {words}; only one of them can be right"):
        _ingest(source, tmp_path / "out")
    manifest = _ingest(source, tmp_path / "out", allow_partial=True)
    assert not {"copy", "p00"} & {file.name for file in manifest.files}
    assert sum("only one of them can be right; it is left out" in note for note in manifest.notes) == 2


def test_the_options_that_were_given_are_in_the_description(tmp_path: Path) -> None:
    source = own_data(tmp_path / "parts")
    given = {"name": "line-7", "images": "images/*.png", "masks": "masks/{stem}.png", "split": "60/20/20"}
    assert _ingest(source, tmp_path / "a", **given, allow_partial=True).options == given | {
        "allow_partial": True
    }
    assert _ingest(source, tmp_path / "b").options == {}


def test_the_names_of_the_labels_of_an_export_are_the_types(tmp_path: Path) -> None:
    for i in range(12):
        _write(tmp_path / "set" / "images" / f"p{i}.png", _image(i))
        label = tmp_path / "set" / "labels" / f"p{i}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(f"{i % 2} 0.2 0.2 0.6 0.2 0.6 0.6\n" if i < 8 else "")
    (tmp_path / "set" / "data.yaml").write_text("names: [pit, crack]\n")
    manifest = _ingest(tmp_path / "set", tmp_path / "out")
    assert Counter(file.defect_type for file in manifest.files) == {"pit": 4, "crack": 4, "": 4}
