"""What a user says about a data set, and its default name."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from tinyunet.core.categories import DAGM, slug
from tinyunet.core.documents.base import Options
from tinyunet.core.errors import require
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.sources.joined import split_sources
from tinyunet.data.sources.source import remove_credentials

CHANNELS = ("auto", "1", "3")
UNMASKED = ("refused", "clean")
ARCHIVE = re.compile(r"(?i)\.(zip|tar|tgz|txz|tbz2?|tar\.(gz|xz|bz2))$")


@dataclass(frozen=True, kw_only=True)
class IngestOptions(LayoutOptions):
    """What a user says about a data set.

    Attributes:
        name: Name of the data set; empty to use the name of the folder, the archive or the prefix.
        channels: `1` (luminance), `3` (colour), or `auto`: 3 if any image has colour.
        split: Percentages for train, validation and test, for a data set without splits.
        allow_partial: Whether files with faults are left out; otherwise a fault refuses the whole data set.
    """

    name: str = ""
    channels: str = "auto"
    split: str = "70/15/15"
    allow_partial: bool = False

    def fractions(self) -> tuple[float, float, float]:
        """Return the fractions for train, validation and test.

        Raises:
            UserError: if `split` is not three numbers whose sum is 100.
        """
        parts = re.fullmatch(r"(\d+)/(\d+)/(\d+)", self.split)
        numbers = [int(part) for part in parts.groups()] if parts else []
        valid = sum(numbers) == 100 and all(numbers)
        require(valid, "split", self.split, "percentages for train, validation and test, such as 70/15/15")
        return numbers[0] / 100, numbers[1] / 100, numbers[2] / 100

    def changed(self) -> Options:
        """Return the options that differ from their defaults, without the category."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "category" and getattr(self, field.name) != field.default
        }

    def check(self) -> None:
        """Check the options that do not depend on the source.

        Raises:
            UserError: if one is invalid.
        """
        self.fractions()
        require(self.channels in CHANNELS, "channels", self.channels, "one of " + ", ".join(CHANNELS))
        require(self.unmasked in UNMASKED, "unmasked", self.unmasked, "one of " + ", ".join(UNMASKED))
        valid = not self.name or slug(self.name) == self.name
        require(valid, "name", self.name, "lower-case letters, digits and -, such as part-7")


def name_of(source: str, layout: str, name: str) -> str:
    """Return the name of a data set: the given one, or a default.

    `dagm` is DAGM2007 alone, whose scores have published counterparts.

    Args:
        source: The source, or several.
        layout: Layout of the last source.
        name: The option; empty for the default.

    Raises:
        UserError: if another data set is given the name `dagm`.
    """
    if layout == DAGM:
        return name or DAGM
    require(name != DAGM, "name", name, "another name, because this one is that of DAGM2007")
    default = dataset_name(source)
    return name or (default if default != DAGM else f"{DAGM}-images")


def dataset_name(source: str) -> str:
    """Return the default name of a data set: that of the last folder, archive or prefix.

    >>> dataset_name("/data/Part 7.zip"), dataset_name("s3://bucket/line/part-7/")
    ('part-7', 'part-7')
    """
    source = split_sources(source)[-1]
    path = urlsplit(remove_credentials(source)) if "://" in source else None
    text = (path.path.strip("/") or path.netloc) if path else str(Path(source).absolute())
    return slug(ARCHIVE.sub("", text.rstrip("/").rsplit("/", 1)[-1])) or "dataset"
