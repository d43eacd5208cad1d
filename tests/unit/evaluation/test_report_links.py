"""Links to the reports of categories."""

from pathlib import Path

from tinyunet.core.documents.base import DataIdentity
from tinyunet.evaluation.report_links import link_reports, report_name


def test_only_a_category_whose_report_is_in_the_folder_is_linked(tmp_path: Path) -> None:
    page = '<a data-report="report-class1.html">1</a> <a data-report="report-class10.html">10</a>'
    (tmp_path / report_name(DataIdentity(category="class10"))).write_text("")
    expected = page.replace('class10.html">', 'class10.html" href="report-class10.html">')
    assert link_reports(page, tmp_path) == expected


def test_a_data_set_without_categories_has_a_report_with_its_name() -> None:
    assert report_name(DataIdentity(dataset="part-7")) == "report-part-7.html"
