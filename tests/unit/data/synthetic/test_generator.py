import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import LayoutOptions, Listing
from tinyunet.data.layouts.dagm import CLASSES, list_samples
from tinyunet.data.pictures.pixels import check_mask, read_grey
from tinyunet.data.sources.trees import FolderTree
from tinyunet.data.synthetic.generator import SyntheticConfig, generate, make_image, parse_source

SMALL = SyntheticConfig(train=6, test=4, size=64)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _list(folder: Path, class_id: int) -> Listing:
    return list_samples(FolderTree(folder), LayoutOptions(category=str(class_id)))


def test_the_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        generate(tmp_path / name, 3, SMALL)
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")


def test_another_seed_gives_other_images(tmp_path: Path) -> None:
    generate(tmp_path / "a", 3, SMALL)
    generate(tmp_path / "b", 3, SMALL.replace({"seed": 1}))
    a, b = _digests(tmp_path / "a"), _digests(tmp_path / "b")
    assert not {a[f"Train/{n:04d}.PNG"] for n in range(5, 11)} & set(b.values())


def test_layout_names_and_labels_have_the_official_form(tmp_path: Path) -> None:
    generate(tmp_path, 1, SMALL)
    samples = _list(tmp_path, 1).samples
    assert [(s.split, s.image.name) for s in samples] == [
        *[("train", f"Train/{n:04d}.PNG") for n in range(5, 11)],
        *[("test", f"Test/{n:04d}.PNG") for n in range(1, 5)],
    ]
    assert sum(s.defective for s in samples if s.split == "train") == 2
    text = (tmp_path / "Train" / "Label" / "Labels.txt").read_bytes()
    assert text.startswith(b"1\r\n0005\t")
    assert text.count(b"\t0\t0\t\r\n") == 4
    assert text.count(b"_label.PNG\r\n") == 2


def test_the_options_are_read_from_the_source() -> None:
    config = parse_source("synthetic://?train=10&test=4&size=96&seed=5&defective=0.25")
    assert config == SyntheticConfig(train=10, test=4, size=96, seed=5, defective=0.25)
    assert parse_source("synthetic://") == SyntheticConfig()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("synthetic://?trian=10", "'trian'"),
        ("synthetic://?train=ten", "'ten'"),
        ("synthetic://?train=1", "train is 1"),
        ("synthetic://?size=20", "size is 20"),
        ("synthetic://?defective=1", "defective is 1"),
        ("synthetic://?seed=-1", "seed is -1"),
        ("synthetic://host", "synthetic://host"),
    ],
)
def test_the_error_of_a_wrong_option_names_it(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_source(source)


@pytest.mark.parametrize("defective", [0.001, 1 / 3, 0.999])
def test_both_kinds_of_images_occur_for_every_fraction(defective: float) -> None:
    flags = SyntheticConfig(train=9, defective=defective).flags("train")
    assert sum(flags) == {0.001: 1, 1 / 3: 3, 0.999: 8}[defective]


@pytest.mark.parametrize("class_id", CLASSES)
def test_a_defect_changes_the_texture_only_inside_its_mask(class_id: int) -> None:
    config = SyntheticConfig(size=128)
    for number in range(1, 4):
        clean, empty = make_image(class_id, config, number, defective=False)
        image, mask = make_image(class_id, config, number, defective=True)
        changed = np.abs(image.astype(int) - clean) > 0
        assert not empty.any()
        assert set(np.unique(mask)) == {0, 255}
        assert not changed[mask == 0].any()
        assert changed.sum() > 20
        assert np.abs(image.astype(int) - clean)[changed].mean() > 4


@pytest.mark.parametrize("class_id", CLASSES)
def test_every_class_passes_validation(class_id: int, tmp_path: Path) -> None:
    generate(tmp_path, class_id, SMALL)
    listing = _list(tmp_path, class_id)
    assert listing.problems == ()
    for sample in listing.samples:
        image = read_grey(sample.image.read())
        assert image.shape == (64, 64)
        if sample.mask:
            check_mask(read_grey(sample.mask.read()), image)


def test_the_ten_textures_differ_clearly() -> None:
    def features(class_id: int) -> np.ndarray:
        image = make_image(class_id, SyntheticConfig(size=256), 1, defective=False)[0].astype(float)
        down, across = np.diff(image, axis=0).std(), np.diff(image, axis=1).std()
        coarse = image.reshape(32, 8, 32, 8).mean((1, 3)).std()
        return np.array([image.mean(), 2 * image.std(), 2 * down, 2 * across, 4 * coarse])

    table = {class_id: features(class_id) for class_id in CLASSES}
    for a, b in itertools.combinations(CLASSES, 2):
        assert np.abs(table[a] - table[b]).max() > 10, (a, b)


# The published mean semi-axes give the mean area of a label in percent of the image: for class 1 it is
# π·60·48/512² = 3.45 %. For class 6 (260 × 30) it is at most 9.3 %, because the ellipses are clipped.
@pytest.mark.parametrize(
    ("class_id", "low", "high"),
    [(1, 2.9, 3.9), (2, 0.7, 1.3), (3, 1.0, 1.6), (4, 2.2, 3.2), (5, 1.5, 2.2), (6, 5, 9.3)],
)
def test_label_areas_have_the_published_mean(class_id: int, low: float, high: float) -> None:
    config = SyntheticConfig(size=128)
    areas = [(make_image(class_id, config, n, defective=True)[1] > 0).mean() for n in range(1, 151)]
    assert low < 100 * np.mean(areas) < high


def _touches(mask: np.ndarray) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_labels_are_clipped_at_the_border_in_the_same_classes_as_in_dagm() -> None:
    config = SyntheticConfig(size=64)
    fraction = {
        c: np.mean([_touches(make_image(c, config, n, defective=True)[1]) for n in range(1, 101)])
        for c in (3, 4, 5, 6)
    }
    assert fraction[3] < 0.1
    assert fraction[4] < 0.1
    assert 0.2 < fraction[5] < 0.7
    assert fraction[6] > 0.7


def test_the_smallest_images_still_have_a_mask() -> None:
    config = SyntheticConfig(size=32)
    assert all(make_image(2, config, n, defective=True)[1].any() for n in range(1, 101))
