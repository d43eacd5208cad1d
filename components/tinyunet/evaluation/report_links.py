"""Links from the comparison of several classes to the report of each class."""

import re
from pathlib import Path


def report_name(class_id: int) -> str:
    """Return the file name of a class's report in the folder of the comparison."""
    return f"report-class{class_id}.html"


def link_reports(page: str, folder: Path) -> str:
    """Add a link to the name of every class whose report is in the folder.

    Args:
        page: Content of comparison.html. The name of a class is an `<a>` without `href`.
        folder: Folder that the page will be written to. The links are relative: the folder can be moved.

    Returns:
        The page with links. A class without a report remains plain text.
    """

    def add_link(anchor: re.Match[str]) -> str:
        name = report_name(int(anchor[1]))
        return f'{anchor[0][:-1]} href="{name}">' if (folder / name).is_file() else anchor[0]

    return re.sub(r'<a data-class="(\d+)">', add_link, page)
