"""Passages are shown with their quotations marked: cut into slices that make up the text, and as one file of HTML."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.passages.marked import Quotation, segments
from pipeline.passages.show import marked_of_passage
from tests.lab import Workspace

TEXT = "Forests <b>reduce</b> variance & bias; café."
SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=8)


class Reader(HTMLParser):
    """Reads a page as a browser does: the names of its elements, and the text of what is marked."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.elements: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element; none may have what runs."""
        self.elements.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in {"src", "href", "style"}]

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.text += data


@given(st.text(max_size=40), SPANS)
def test_parts_make_up_the_text_and_know_what_quotes_them(text: str, spans: list[tuple[int, int]]) -> None:
    """Whatever overlaps: the parts are the text, and a letter is quoted by what has it within."""
    found = [
        Quotation(f"c{number}", "method", start, min(start + length, len(text)))
        for number, (start, length) in enumerate(spans)
        if start < len(text)
    ]
    parts = segments(text, found)
    assert "".join(one.text for one in parts) == text
    at = 0
    for one in parts:
        for place in range(at, at + len(one.text)):
            assert {quote for quote in found if quote.start <= place < quote.end} == set(one.quotations)
        at += len(one.text)


def quoted(quote: str) -> str:
    """Return evidence that says where a quotation of the text stands."""
    start = TEXT.find(quote)
    return json.dumps({"support": [{"quote": quote, "start": start, "end": start + len(quote)}]})


def test_two_versions_stand_beside_each_other_in_one_file_that_runs_nothing(
    workspace: Workspace, people: Callable[..., list[str]], tmp_path: Path
) -> None:
    """What is in a text or a name is shown as text; a quotation that is not in the text is none."""
    people(1)
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "p<1>", "text": TEXT, "source": "<i>book</i>"}) + "\n")
    workspace.ran("import-passages", str(tmp_path / "p.jsonl"))
    rows = (
        ("<script>alert(1)</script>", "method", "a@1", quoted("<b>reduce</b> variance")),
        ("variance", '"><img src=x>', "a@1", quoted("variance & bias")),
        ("lost", "metric", "a@1", json.dumps({"support": [{"quote": "absent", "start": 0, "end": 6}]})),
        ("forest", "model", "b@1", quoted("Forests")),
    )
    for name, kind, version, evidence in rows:
        workspace.change(
            "INSERT INTO passage_concepts "
            "(passage_id, concept_name, concept_type, extractor_model, extractor_version, evidence) "
            "VALUES ('p<1>', :name, :kind, 'm', :version, :evidence)",
            name=name,
            kind=kind,
            version=version,
            evidence=evidence,
        )
    with workspace.open() as ws:
        passage = marked_of_passage(ws.store, ws.subjects, ws.settings, "p<1>")
    assert [one.extractor for one in passage.versions] == ["a@1/m", "b@1/m"]
    assert passage.versions[0].others == [("lost", "metric")]
    assert [len(one.quotations) for one in passage.versions[0].segments] == [0, 1, 2, 1, 0]
    path = tmp_path / "view.html"
    workspace.ran("export", str(path), TASK="passages")
    page = Reader()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.text.count(TEXT[-6:]) == len(passage.versions)
    assert "<script>alert(1)</script> (method)" in page.text
    assert {"script", "img", "b", "i", "link", "iframe"}.isdisjoint(page.elements)
    assert '<span class="u c0">variance</span>' in path.read_text(encoding="utf-8")  # the line of its second type
    assert "default-src 'none'" in path.read_text(encoding="utf-8")
    assert "not written as html" in workspace.ran("export", "-", "--format", "html", code=2).stderr
