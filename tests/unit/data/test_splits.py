import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.splits import group_copies, validation_names

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


def test_copies_are_grouped_under_the_first_name_and_images_without_a_hash_are_not_grouped() -> None:
    assert group_copies("ba", {"a": "", "b": ""}) == {"a": {"a"}, "b": {"b"}}
    assert group_copies("dcba", {"a": "1", "b": "2", "c": "1"}) == {"a": {"a", "c"}, "b": {"b"}, "d": {"d"}}
