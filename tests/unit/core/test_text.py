"""JSON and names from other programs."""

import pytest

from tinyunet.core.text import composed, one_line, parse_json


def test_a_text_of_any_unicode_encoding_is_read() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json('{"part": "Prüfling"}'.encode(encoding)) == {"part": "Prüfling"}


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe\xfa", "[" * 100_000, '{"a":' * 100_000])
def test_anything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|codec|too deeply"):
        parse_json(text)


def test_a_line_shows_line_breaks_and_other_bytes_as_escapes() -> None:
    assert one_line("a\nb\tc\x1b[31m é") == "a\\nb\\tc\\x1b[31m é"
    assert one_line(b"\xff.png".decode("utf-8", "surrogateescape")) == "\\udcff.png"


def test_letters_with_accents_are_one_character() -> None:
    assert composed("e\u0301") == "\u00e9" == composed("\u00e9")
