"""The pictures of figures: what is drawn is what was measured."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.chart import LABELS, RIGHT, WIDTH, Bars, Group, drawn

SVG = "{http://www.w3.org/2000/svg}"


def bars_of(picture: str) -> list[float]:
    """Return the widths of the bars, without the paper and the legend."""
    rects = ElementTree.fromstring(picture).iter(f"{SVG}rect")
    return [float(rect.attrib["width"]) for rect in rects if rect.attrib["height"] == "10.0"]


def texts_of(picture: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_a_bar_is_as_long_as_its_value() -> None:
    chart = Bars("A title", "a note", ("seal",), [Group("one", [1.0]), Group("four", [4.0])])
    short, long = bars_of(drawn(chart))
    assert long == pytest.approx(4 * short, abs=0.2)
    assert long == pytest.approx(WIDTH - LABELS - RIGHT, abs=0.1)


def test_on_a_logarithmic_scale_equal_factors_are_equal_lengths() -> None:
    groups = [Group("a", [0.01]), Group("b", [0.1]), Group("c", [1.0])]
    first, second, third = bars_of(drawn(Bars("t", "n", ("seal",), groups, logarithmic=True)))
    assert first == 0
    assert third == pytest.approx(2 * second, abs=0.2)


def test_titles_names_and_values_are_shown_and_escaped() -> None:
    chart = Bars(
        'A & "B"',
        "note",
        ("seal", "open"),
        [Group("<one>", [1.25, None])],
        apart=[Group("other", [12.0, 1_500.0])],
        apart_title="Apart",
    )
    picture = drawn(chart)
    shown = texts_of(picture)
    assert {'A & "B"', "note", "seal", "open", "<one>", "1.2", "Apart", "12", "1,500"} <= set(shown)
    assert ElementTree.fromstring(picture).attrib["aria-label"] == 'A & "B"'
    assert len(bars_of(picture)) == 3


def test_without_groups_apart_their_title_is_left_out() -> None:
    chart = Bars("t", "n", ("seal",), [Group("one", [2.0])], apart_title="Apart")
    assert "Apart" not in texts_of(drawn(chart))


@pytest.mark.parametrize("values", [[None], [0.0], [-1.0]])
def test_what_cannot_be_drawn_is_refused(values: list[float | None]) -> None:
    with pytest.raises(ValueError, match="values above 0"):
        drawn(Bars("t", "n", ("seal",), [Group("one", values)], logarithmic=True))
