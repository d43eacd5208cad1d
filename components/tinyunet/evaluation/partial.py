"""The table of those categories of one pipeline run whose evaluations exist so far.

The task `compare` starts only after all categories have succeeded, because Kubeflow Pipelines cannot collect
the outputs of a loop in which one failed. Each category therefore leaves the table of what was evaluated.
"""

import os
import tempfile
from pathlib import Path

from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.errors import UserError
from tinyunet.evaluation.comparison import compare, table
from tinyunet.launch.preconditions import s3_uri
from tinyunet.storage import s3

REMARK = (
    "Other categories of this run have failed or have not been evaluated yet, if they are not in the table."
)


def table_so_far(evaluation: str) -> str:
    """Print the table of the evaluations of a run that exist so far, and return its page.

    Args:
        evaluation: URI of one evaluation of the run, <root>/<run>/evaluate/<id>/evaluation.

    Returns:
        A self-contained page; empty if the evaluations are on this machine, or the object store that holds
        them cannot be read.
    """
    uri = s3_uri(evaluation)
    if not (s3.is_remote(uri) and os.environ.get("S3_ENDPOINT_URL")):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = compare(_evaluations(uri, Path(folder)), Path(folder) / "comparison", remark=REMARK)
        except UserError as error:
            print(f"no table of the categories so far: {error}")
            return ""
        print("\n".join(table(result.rows)))
        return (Path(folder) / "comparison" / "comparison.html").read_text(encoding="utf-8")


def _evaluations(uri: str, folder: Path) -> list[Path]:
    """Download the document of each evaluation of the run; of one category, only one."""
    root, task, _, name = uri.rsplit("/", 3)
    found = [one for one in s3.list_objects(f"{root}/{task}") if one.endswith(f"/{name}/{Evaluation.FILE}")]
    folders: dict[tuple[str, str], Path] = {}
    for number, one in enumerate(found):
        path = s3.fetch(one, folder / str(number) / Evaluation.FILE).parent
        data = Evaluation.read(path).data
        folders[data.dataset, data.category] = path
    return list(folders.values())
