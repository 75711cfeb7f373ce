"""What the page on quality says of the gates is what the code holds."""

import re

import pytest

from pipeline.experts import quality as of_people
from pipeline.passages import quality as of_passages
from pipeline.quality.figures import Figure
from tests.lab import ROOT

PAGE = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("heading", "figures"), [("people", of_people.FIGURES), ("passages", of_passages.FIGURES)]
)
def test_every_gate_stands_on_the_page_with_its_bounds(
    heading: str, figures: tuple[Figure, ...]
) -> None:
    """Each gate of each subject has a row with what it demands, and no row is about another one.

    Each figure says what it is in a line of its own that could be about no other.
    """
    part = PAGE.split(f"## The gates of {heading}")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", part, re.MULTILINE))
    assert told == {figure.name: figure.bounds_text for figure in figures if figure.is_gate}
    assert len({figure.description for figure in figures}) == len(figures)
    assert [
        figure.description
        for figure in figures
        if len(figure.description.split()) < 3 or len(figure.description) > 100
    ] == []
