"""Formats of numbers and texts in the templates."""

from tinyunet.evaluation import rendering


def test_numbers_have_a_fixed_number_of_digits_and_undefined_ones_are_dashes() -> None:
    assert rendering.number(0.12345) == "0.123"
    assert rendering.number(None) == "–"
    assert rendering.percent(0.9555) == "95.5 %"
    assert rendering.percent(None) == "–"


def test_thousands_are_separated_by_thin_spaces() -> None:
    assert rendering.count(1850305) == "1\u202f850\u202f305"


def test_text_in_markdown_code_has_neither_backticks_nor_line_breaks() -> None:
    assert rendering.code("a`b\nc") == "a'b c"


def test_the_mean_is_undefined_if_a_value_is_or_there_are_none() -> None:
    assert rendering.mean([1.0, 2.0]) == 1.5
    assert rendering.mean([1.0, None]) is None
    assert rendering.mean([]) is None
