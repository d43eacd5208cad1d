"""Checks and conversions of the names that users choose, for MLflow: models, experiments and tags."""

import hashlib
import re
from urllib.parse import quote

from tinyunet.core.errors import UserError

ENGINE_FOLDER = "engine"  # of a logged model: what serves it without Keras
MAX_MODEL_NAME = 256  # characters, the width of MLflow's column
MAX_FOLDER = 200  # bytes of a folder name, less than any file system allows
# MLflow refuses these characters in a model name, or cannot parse models:/NAME@champion with them.
_UNUSABLE = re.compile(r"[/:@?#\x00-\x1f\x7f]")


def check_model_name(name: str) -> None:
    """Check the name of a registered model; an empty string stands for the default name.

    Raises:
        UserError: if MLflow would refuse the name, or could not parse models:/NAME@champion.
    """
    if _UNUSABLE.search(name) or name != name.strip() or name in (".", "..") or len(name) > MAX_MODEL_NAME:
        raise UserError(
            f"model name is {name[:80]!r}; expected at most {MAX_MODEL_NAME} characters without / : @ ? #, "
            "line breaks, and blanks at the ends; choose another name"
        )


def experiment_folder(name: str) -> str:
    """Return the folder name for the artifacts of an experiment; every experiment has its own folder."""
    folder = quote(name, safe=" ")
    usable = folder.strip(". ") and len(folder) <= MAX_FOLDER
    return folder if usable else hashlib.sha256(name.encode()).hexdigest()[:16]


def tag_filter(tag: str, value: str) -> str:
    """Return a filter string that selects the entities whose tag has this value.

    MLflow cannot escape quotation marks. Special characters are therefore replaced by a wildcard for one
    character, and the caller must compare the values again.
    """
    pattern = re.sub(r"[^\w .:/-]", "_", value)
    return f"tags.`{tag}` {'=' if pattern == value else 'LIKE'} '{pattern}'"
