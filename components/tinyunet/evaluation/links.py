"""Links from the table of several classes to the report of each, where that lies beside the table."""

import re
from pathlib import Path


def report_name(class_id: int) -> str:
    """Give the file name that a class's report has beside the table."""
    return f"report-class{class_id}.html"


def link_reports(page: str, folder: Path) -> str:
    """Make every class in the table a link to its report; classes without one in the folder stay text.

    Args:
        page: comparison.html, where a class is an `<a>` that leads nowhere yet.
        folder: Where the page will lie; the links are names of files in it, so it may move as a whole.
    """

    def linked(found: re.Match[str]) -> str:
        name = report_name(int(found[1]))
        return f'{found[0][:-1]} href="{name}">' if (folder / name).is_file() else found[0]

    return re.sub(r'<a data-class="(\d+)">', linked, page)
