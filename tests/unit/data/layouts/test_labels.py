"""The text of Labels.txt in its variants and encodings."""

import pytest

from tinyunet.data.layouts import labels

OFFICIAL = "1\r\n0576\t0\t0576.PNG\t0\t0\t\r\n0577\t1\t0577.PNG\t0\t0577_label.PNG\r\n"


@pytest.mark.parametrize(
    "text",
    [
        OFFICIAL,
        OFFICIAL.replace("\r\n", "\n"),
        "\ufeff" + OFFICIAL,
        OFFICIAL.replace("1\r\n", "", 1),
        OFFICIAL.replace("\t0\t\r\n", "\t0\r\n"),
        OFFICIAL + "\r\n\r\n",
        OFFICIAL.rstrip(),
    ],
    ids=["official", "lf", "bom", "no header", "no trailing tab", "blank lines", "no last newline"],
)
def test_every_variant_of_labels_is_parsed_into_the_same_rows(text: str) -> None:
    rows, errors = labels.parse_labels(text)
    assert errors == []
    assert [(r.defective, r.image, r.mask) for r in rows] == [
        (False, "0576.PNG", None),
        (True, "0577.PNG", "0577_label.PNG"),
    ]


@pytest.mark.parametrize(
    "row", ["0578\t2\t0578.PNG\t0\t0", "0578\t1\t0578.PNG", "0578 1 0578.PNG 0 0", "a\tb\tc\td\te\tf"]
)
def test_a_malformed_row_is_reported_with_its_line_and_the_other_rows_are_parsed(row: str) -> None:
    rows, errors = labels.parse_labels(OFFICIAL + row + "\n")
    assert len(rows) == 2
    assert [line for line, _ in errors] == [4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_labels_are_decoded_from_the_encodings_of_windows(encoding: str) -> None:
    assert labels.decode_labels(OFFICIAL.encode(encoding)).removeprefix("\ufeff") == OFFICIAL


@pytest.mark.parametrize("data", [b"\xff\xfe\x00\x81", "Prüfung\t1".encode("latin-1"), b"\xff\xfe\x00"])
def test_other_bytes_are_no_labels(data: bytes) -> None:
    with pytest.raises(UnicodeError):
        labels.decode_labels(data)


def test_formatted_labels_equal_the_official_file() -> None:
    rows = [labels.Row(2, False, "0576.PNG", None), labels.Row(3, True, "0577.PNG", "0577_label.PNG")]
    assert labels.format_labels(rows) == OFFICIAL
    assert labels.parse_labels(OFFICIAL) == (rows, [])
