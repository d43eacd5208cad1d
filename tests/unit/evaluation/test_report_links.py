"""Links to the reports of classes."""

from pathlib import Path

from tinyunet.evaluation.report_links import link_reports, report_name


def test_only_a_class_whose_report_is_in_the_folder_is_linked(tmp_path: Path) -> None:
    page = '<a data-class="1">1</a> <a data-class="10">10</a>'
    (tmp_path / report_name(10)).write_text("")
    linked = '<a data-class="1">1</a> <a data-class="10" href="report-class10.html">10</a>'
    assert link_reports(page, tmp_path) == linked
