"""Names of data sets and of their categories, and what is derived from them."""

import hashlib
import re

DAGM = "dagm"  # name of the data set DAGM2007; its categories are class1 to class10


def class_number(category: str) -> int | None:
    """Return the number of a class of DAGM2007, or None for any other category.

    >>> class_number("class7"), class_number("bottle")
    (7, None)
    """
    match = re.fullmatch(r"class([1-9]|10)", category)
    return int(match[1]) if match else None


def class_category(text: str) -> str:
    """Return the category that a user means, who may write a class of DAGM2007 as its number.

    >>> class_category("7"), class_category("Class7"), class_category("bottle")
    ('class7', 'class7', 'bottle')
    """
    match = re.fullmatch(r"(?i)(?:class)?([1-9]|10)", text.strip())
    return f"class{match[1]}" if match else text.strip()


def slug(text: str) -> str:
    """Return a text in lower case, with `-` in place of all characters except letters and digits.

    >>> slug("Part 7 (new)")
    'part-7-new'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def unique_slug(text: str) -> str:
    """Return the slug of a text; if the text is not its own slug, a digest keeps different texts apart.

    >>> unique_slug("bottle"), unique_slug("Part A")
    ('bottle', 'part-a-83d255')
    """
    if slug(text) == text:
        return text
    return f"{slug(text)}-{hashlib.sha256(text.encode()).hexdigest()[:6]}".strip("-")


def full_name(dataset: str, category: str) -> str:
    """Return the name of a data set with its category, as registered models and runs have it.

    >>> full_name("dagm", "class1"), full_name("part-7", "")
    ('dagm-class1', 'part-7')
    """
    return f"{dataset}-{unique_slug(category)}" if category else dataset
