"""Links from the comparison of several categories to the report of each one."""

import re
from pathlib import Path

from tinyunet.core.categories import unique_slug
from tinyunet.core.documents.base import DataIdentity


def report_name(data: DataIdentity) -> str:
    """Return the file name of a category's report in the folder of the comparison."""
    return f"report-{unique_slug(data.category or data.dataset)}.html"


def link_reports(page: str, folder: Path) -> str:
    """Add a link to the name of every category whose report is in the folder.

    Args:
        page: Content of comparison.html. The name of a category is an `<a>` without `href`; its attribute
            `data-report` is the name of the report.
        folder: Folder that the page will be written to. The links are relative: the folder can be moved.

    Returns:
        The page with links. A category without a report remains plain text.
    """

    def add_link(anchor: re.Match[str]) -> str:
        return f'{anchor[0][:-1]} href="{anchor[1]}">' if (folder / anchor[1]).is_file() else anchor[0]

    return re.sub(r'<a data-report="([\w.-]+)">', add_link, page)
