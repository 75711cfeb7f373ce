"""The page on quality lists the gates of the code."""

import re

import pytest

from askrows.pipeline.passages import quality as of_passages
from askrows.pipeline.quality import measure as of_user_tasks
from askrows.pipeline.quality.figures import Figure
from tests.lab import ROOT

PAGE = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("heading", "figures"),
    [
        ("passages", of_passages.FIGURES),
        ("user tasks", of_user_tasks.FIGURES),
    ],
)
def test_every_gate_is_on_the_page_with_its_bounds(
    heading: str, figures: tuple[Figure, ...]
) -> None:
    """Each gate has a row with its bounds, and each figure has a unique description."""
    part = PAGE.split(f"## The gates of {heading}")[1].split("\n## ")[0]
    page_bounds = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", part, re.MULTILINE))
    assert page_bounds == {figure.name: figure.bounds_text for figure in figures if figure.is_gate}
    assert len({figure.description for figure in figures}) == len(figures)
    assert [
        figure.description
        for figure in figures
        if len(figure.description.split()) < 3 or len(figure.description) > 100
    ] == []
