"""What every layout has: the files of a source, the samples that it lists, and its options."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tinyunet.core.errors import UserError
from tinyunet.data.sources.trees import Tree

RESPLIT_NOTE = (
    "its training images are all clean, so that all images are split again: results are not comparable with "
    "published anomaly-detection numbers"
)


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, or a mask that a layout draws from an annotation.

    Attributes:
        name: Path in the source with the separator `/`, for messages.
        read: Return the bytes of the file. It may raise OSError, or UserError with a message without a
            subject, such as `is not JSON`.
        upright: Whether it is a mask that was drawn on the image after its EXIF rotation.
    """

    name: str
    read: Callable[[], bytes] = field(compare=False, repr=False)
    upright: bool = False


@dataclass(frozen=True)
class SourceSample:
    """One image of a data set, as its layout describes it.

    Attributes:
        name: Name of the sample, unique in its split: letters, digits, `.`, `_` and `-`.
        image: The image file.
        mask: The mask file; None if the layout says that the image has no defect.
        split: `train`, `validation` or `test`; empty if the layout does not say it.
        defect_type: Type of the defect; empty if the layout does not say it. A mask whose values are types
            says it later.
        group: Images of one group, such as the photographs of one part, stay in one split; empty for none.
        defective: Whether the image shows a defect; None if only the pixels of its mask say it.
    """

    name: str
    image: SourceFile
    mask: SourceFile | None
    split: str = ""
    defect_type: str = ""
    group: str = ""
    defective: bool | None = None


@dataclass(frozen=True)
class Problem:
    """A fault of a file; `file` is its path in the source."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass(frozen=True)
class LayoutOptions:
    """What a user says about a data set whose layout cannot be found without it.

    Attributes:
        layout: Name of the layout; empty to find it.
        category: Category of a data set that has several; empty for the only one.
        images: Pattern of the image files of the layout `pairs`, such as `photos/*.jpg`.
        masks: Path of the mask of an image in the layout `pairs`, such as `labels/{stem}_gt.png`.
        unmasked: What an image is whose mask is missing, in the layouts `pairs`, `beside` and `labelme`:
            `refused`, because the mask may have been forgotten, or `clean`.
    """

    layout: str = ""
    category: str = ""
    images: str = ""
    masks: str = ""
    unmasked: str = "refused"


@dataclass(frozen=True)
class Listing:
    """The samples of one category of a data set, in one layout.

    Attributes:
        layout: Name of the layout.
        found: What was found, in one line for the user: `images/ beside masks/: 380 images, 380 masks`.
        category: The category; empty if the data set has none.
        samples: The samples, sorted by split and name.
        problems: Faults, such as an image without a mask; `--allow-partial` leaves their files out.
        notes: What a user should know, and is no fault.
        ignored: Files of the source that do not belong to the layout.
        type_names: Names of the values of a mask whose values are defect types, by value.
        parts: The listings of joined sources, each with masks of its own kind; empty for one source.
    """

    layout: str
    found: str
    category: str = ""
    samples: tuple[SourceSample, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    type_names: dict[int, str] = field(default_factory=dict)
    parts: tuple["Listing", ...] = ()


class Layout(Protocol):
    """The three functions of a layout module.

    A module of this package is a layout if it has the constant NAME and these functions; `find.LAYOUTS` names
    all of them.
    """

    NAME: str

    def recognise(self, tree: Tree) -> bool:
        """Return whether the names of the files are those of this layout; read as few files as possible."""

    def categories(self, tree: Tree) -> tuple[str, ...]:
        """Return the categories of the data set, sorted; empty if it has none."""

    def list_samples(self, tree: Tree, options: LayoutOptions) -> Listing:
        """Return the samples of `options.category`, or of the whole data set.

        Raises:
            UserError: if the category does not exist, or nothing can be listed.
        """


def summarize(location: str, problems: Sequence[Problem]) -> str:
    """Return one line with the number of problems and the first three messages, each with its first files."""
    files = defaultdict[str, list[str]](list)
    for problem in problems:
        files[problem.message].append(problem.file)
    shown = [f"{_first(names)}: {message}" for message, names in list(files.items())[:3]]
    more = sum(map(len, list(files.values())[3:]))
    shown += [f"and {more} more"] if more else []
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{location} has {count}: {'; '.join(shown)}; correct the files, then ingest again"


def _first(names: Sequence[str]) -> str:
    """Return the first three of the files that have the same problem: `a.png, b.png, c.png and 4 more`."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def require_category(location: str, category: str, categories: Sequence[str]) -> str:
    """Return the category to read: the given one, or the only one.

    Raises:
        UserError: if there is no such category, or several and none is given.
    """
    if not categories:
        return category
    if category in categories:
        return category
    if not category and len(categories) == 1:
        return categories[0]
    text = f"{location} has the categories {', '.join(categories)}"
    if category:
        raise UserError(f"category is {category!r}, but {text}; choose one of them")
    raise UserError(f"{text}; choose one with --category (make run: CATEGORY=…), or CATEGORY=all")
