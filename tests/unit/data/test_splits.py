from collections import Counter
from collections.abc import Callable

import pytest

from tinyunet.core.config import DataConfig
from tinyunet.core.documents.raw import RawFile
from tinyunet.core.errors import UserError
from tinyunet.data.splits import SplitItem, choose_validation, connected, make_splits, validation_names

NAMES = [f"{n:04d}" for n in range(1, 11)]


def test_validation_images_are_the_first_by_hash_of_the_name() -> None:
    # printf 0004 | sha256sum gives 0591b59c…; then 0010, 0008, 0005, 0003, 0009, 0002, 0006, 0001, 0007.
    assert validation_names(NAMES, fraction=0.3, fold=0, stratum="x") == {"0004", "0010", "0008"}
    assert validation_names(NAMES, fraction=0.3, fold=2, stratum="x") == {"0002", "0006", "0001"}


def test_the_order_of_the_names_does_not_matter() -> None:
    in_order = validation_names(NAMES, fraction=0.2, fold=1, stratum="x")
    assert validation_names(reversed(NAMES), fraction=0.2, fold=1, stratum="x") == in_order


def test_an_added_image_replaces_at_most_one_validation_image() -> None:
    before = validation_names(NAMES, fraction=0.3, fold=0, stratum="x")
    after = validation_names([*NAMES, "0011"], fraction=0.3, fold=0, stratum="x")
    assert len(before & after) >= 2


@pytest.mark.parametrize(
    ("fraction", "count", "size"), [(0.15, 43, 6), (0.15, 60, 9), (0.29, 100, 29), (0.1, 30, 3)]
)
def test_the_number_of_validation_images_is_rounded_down(fraction: float, count: int, size: int) -> None:
    names = [str(n) for n in range(count)]
    assert len(validation_names(names, fraction=fraction, fold=0, stratum="x")) == size


@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.2, 0.3, 0.45])
def test_folds_do_not_overlap(fraction: float) -> None:
    names = [str(n) for n in range(67)]
    folds = [
        validation_names(names, fraction=fraction, fold=k, stratum="x") for k in range(int(1 / fraction))
    ]
    assert sum(map(len, folds)) == len(frozenset().union(*folds))


@pytest.mark.parametrize(("names", "fold"), [([], 0), (["a"], 0), (["a", "b"], 2)])
def test_a_stratum_too_small_to_split_is_an_error(names: list[str], fold: int) -> None:
    with pytest.raises(UserError, match=f"Train has {len(names)} defective images, too few .* fold {fold}"):
        validation_names(names, fraction=0.15, fold=fold, stratum="defective")


def _items(count: int, stratum: str = "", key: Callable[[int], str] = str) -> list[SplitItem]:
    return [SplitItem(f"{stratum}{i}", stratum, frozenset([f"{stratum}{key(i)}"])) for i in range(count)]


def test_every_stratum_is_divided_in_the_same_proportions() -> None:
    splits = make_splits([*_items(40, "scratch"), *_items(20, "dent")], (0.7, 0.15, 0.15))
    counts = Counter((name.rstrip("0123456789"), split) for name, split in splits.items())
    assert counts == {
        ("scratch", "train"): 28, ("scratch", "validation"): 6, ("scratch", "test"): 6,
        ("dent", "train"): 14, ("dent", "validation"): 3, ("dent", "test"): 3,
    }  # fmt: skip


def test_images_with_a_common_key_are_in_one_split_also_through_a_third_image() -> None:
    chain = [SplitItem(f"x{i}", "", frozenset([f"part {i}", f"part {i + 1}"])) for i in range(5)]
    splits = make_splits([*chain, *_items(20)], (0.5, 0.25, 0.25))
    assert len({splits[item.name] for item in chain}) == 1


def test_the_order_of_the_items_does_not_change_the_splits() -> None:
    items = _items(30, key=lambda i: str(i // 3))
    assert make_splits(items, (0.6, 0.2, 0.2)) == make_splits(items[::-1], (0.6, 0.2, 0.2))


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, {"train": 1}), (2, {"train": 1, "test": 1}), (3, {"train": 1, "validation": 1, "test": 1})],
)
def test_a_small_stratum_has_an_image_in_as_many_splits_as_possible(
    count: int, expected: dict[str, int]
) -> None:
    assert Counter(make_splits(_items(count), (0.7, 0.15, 0.15)).values()) == expected


def _file(name: str, *, defective: bool = False, pixels: str = "", group: str = "") -> RawFile:
    return RawFile(
        split="train",
        name=name,
        image_sha256="",
        mask_sha256=None,
        pixels_sha256=pixels,
        defective=defective,
        group=group,
    )


def _held_out(files: list[RawFile]) -> list[str]:
    chosen = choose_validation(files, DataConfig())
    names = [file.name for split in ("train", "validation") for file in chosen[split]]
    assert sorted(names) == sorted(file.name for file in files)
    return [file.name for file in chosen["validation"]]


def test_validation_has_the_fraction_of_both_strata() -> None:
    files = [_file(f"{n:04d}", defective=n < 14) for n in range(40)]
    defective = validation_names([f"{n:04d}" for n in range(14)], fraction=0.15, fold=0, stratum="x")
    clean = validation_names([f"{n:04d}" for n in range(14, 40)], fraction=0.15, fold=0, stratum="x")
    assert set(_held_out(files)) == defective | clean


@pytest.mark.parametrize("fillers", range(4, 12))
def test_images_of_a_group_and_equal_images_are_together_in_train_or_validation(fillers: int) -> None:
    # a-b have one group, b-c equal pixels, so all three are one image, which is defective.
    files = [_file("a", group="7"), _file("b", group="7", pixels="1", defective=True), _file("c", pixels="1")]
    files += [_file(f"{n}", defective=n < 2) for n in range(fillers)]
    for permuted in (files, files[::-1]):
        assert len({"a", "b", "c"} & set(_held_out(permuted))) in (0, 3)


def test_a_data_set_without_defect_free_images_is_divided() -> None:
    assert len(_held_out([_file(f"{n}", defective=True) for n in range(10)])) == 1


def test_the_groups_are_those_of_images_that_are_connected_by_keys() -> None:
    keys = {"a": "12", "b": "3", "c": "24", "d": "5", "e": "35"}
    items = [SplitItem(name, "", frozenset(text)) for name, text in keys.items()]
    groups = {frozenset(item.name for item in group) for group in connected(items)}
    assert groups == {frozenset("ac"), frozenset("bde")}
