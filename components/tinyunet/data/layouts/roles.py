"""Names of folders that say whether they hold images or masks."""

from functools import lru_cache

from tinyunet.data.layouts.names import words_of

_IMAGE_WORDS = {"image", "images", "img", "imgs", "photo", "photos", "picture", "pictures"}
_IMAGE_WORDS |= {"bild", "bilder", "foto", "fotos"}
LABEL_WORDS = {"label", "labels", "lab"}
_MASK_WORDS = {
    "mask",
    "masks",
    "annotation",
    "annotations",
    "gt",
    "gts",
    "groundtruth",
    "seg",
    "segmentation",
    "maske",
    "masken",
}
_OTHER_MASK_WORDS = {"target", "targets", "manual", "binary", "bw"}


@lru_cache(maxsize=10_000)
def role_of(folder: str) -> str:
    """Return `image` or `mask`; empty for another name."""
    words = set(words_of(folder))
    if words & (_MASK_WORDS | LABEL_WORDS) or words >= {"ground", "truth"}:
        return "mask"
    return "image" if words & _IMAGE_WORDS else ""


def loose_role_of(folder: str) -> str:
    """Return the role also for names that mean something else elsewhere, such as `targets`."""
    return "mask" if _OTHER_MASK_WORDS & set(words_of(folder)) else role_of(folder)


def other_words(folder: str) -> tuple[str, ...]:
    """Return the words of a folder's name that do not say what it holds."""
    return tuple(word for word in words_of(folder) if not role_of(word) and word not in ("ground", "truth"))
