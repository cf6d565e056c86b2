import pytest

from protoquant.pages.formatters import breakable, interval, number, p_value, percent, setting, signed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.12345), "12.3 %"),
        (percent(0.5, 0), "50 %"),
        (percent(-0.125), "\N{MINUS SIGN}12.5 %"),
        (percent(None), "\N{EN DASH}"),
        (number(1234.5), "1,234.50"),
        (number(1234, 0), "1,234"),
        (number(None), "\N{EN DASH}"),
        (signed(0.25, "+.1f"), "+0.2"),
        (signed(-0.75, ".1f"), "\N{MINUS SIGN}0.8"),
        (signed(1e-7, ".2g"), "1e-07"),  # an exponent's sign is none of the number's
        (interval(0.885, 0.94), "88.5 to 94.0 %"),
        (p_value(0.0312), "0.031"),
        (p_value(0.0312, "= "), "= 0.031"),
        (p_value(1e-4), "0.0001"),
        (p_value(9.9e-5, "= "), "< 0.0001"),
        (p_value(0.0), "< 0.0001"),
        (setting(None), "null"),
        (setting(True), "true"),
        (setting([1, 0.5, None, "cosine"]), "[1, 0.5, null, cosine]"),
        (setting(0.00001), "1e-05"),
        (setting("kmeans"), "kmeans"),
    ],
)
def test_values_as_text(text: str, expected: str) -> None:
    assert text == expected


def test_long_names_break_where_their_words_end_and_are_escaped() -> None:
    assert breakable("a/b_c-d_") == "a/<wbr>b_<wbr>c-<wbr>d_"
    assert breakable("<b>_x") == "&lt;b&gt;_<wbr>x"
