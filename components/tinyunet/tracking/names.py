"""Names that users choose, in the form in which MLflow accepts them: models, experiments, filter strings."""

import hashlib
import re
from urllib.parse import quote

from tinyunet.core.errors import UserError

MAX_MODEL_NAME = 256  # characters, the width of MLflow's column
MAX_FOLDER = 200  # bytes of a folder name, less than any file system allows
_UNUSABLE = re.compile(
    r"[/:@?#\x00-\x1f\x7f]"
)  # MLflow refuses them, or models:/NAME@champion could not be read


def check_model_name(name: str) -> None:
    """Check the name of a registered model; empty is the default name.

    Raises:
        UserError: if MLflow would refuse the name, or if models:/NAME@champion would not name the model.
    """
    if _UNUSABLE.search(name) or name != name.strip() or name in (".", "..") or len(name) > MAX_MODEL_NAME:
        raise UserError(
            f"model name is {name[:80]!r}; expected at most {MAX_MODEL_NAME} characters without / : @ ? #, "
            "line breaks, and blanks at the ends; choose another name"
        )


def experiment_folder(name: str) -> str:
    """Return the name of the folder for the artifacts of an experiment: one folder for every name."""
    folder = quote(name, safe=" ")
    usable = folder.strip(". ") and len(folder) <= MAX_FOLDER
    return folder if usable else hashlib.sha256(name.encode()).hexdigest()[:16]


def tag_filter(tag: str, value: str) -> str:
    """Return a filter string for entities whose tag has a value.

    MLflow has no escape for quotation marks. A character that could end the text matches any character, so
    that the caller must compare the values again.
    """
    pattern = re.sub(r"[^\w .:/-]", "_", value)
    return f"tags.`{tag}` {'=' if pattern == value else 'LIKE'} '{pattern}'"
