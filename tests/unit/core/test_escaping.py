"""What stands in a text stays text: in Markdown and in a table."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it; it reads Markdown as CommonMark has it

from pipeline.core.text import (
    escape_invisible,
    escape_markdown,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    st.sampled_from("ab|\\`*_{}[]()<>#+-.!~&;:/@$^=\n\r\t \u202e\u2066\u2069\u05d0"), max_size=40
)
TEXTS_ONLY = {"text", "text_special", "softbreak"}
SAFE = {"strong_open", "strong_close"} | TEXTS_ONLY


def inline(markdown: str) -> list[Any]:
    """Return the tokens inside the blocks of a document."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [child for token in tokens if token.type == "inline" for child in token.children or []]


def seen(tokens: list[Any]) -> str:
    """Return the text of some tokens, without the joiners that are not seen."""
    text = "".join(token.content for token in tokens if token.type in TEXTS_ONLY)
    return text.replace("\u2060", "")


def bare(text: str) -> str:
    """Return a text as a person sees it."""
    return escape_invisible(text.strip()).replace("\u2060", "\ufffd").strip()


@given(TEXT)
@example("<b>bees</b><!-- and --><img src=x>")
def test_a_text_in_a_line_stays_that_text(text: str) -> None:
    """Whatever a text holds, a viewer shows it as it is, without a link, mark-up or HTML; a table keeps its cells."""
    tokens = inline(f"- name: {escape_markdown(text)} end")
    assert {token.type for token in tokens} <= TEXTS_ONLY
    assert seen(tokens) == f"name: {bare(text)} end"
    tokens = (
        MarkdownIt("commonmark").enable("table").parse(f"| a | b |\n| --- | --- |\n| {escape_markdown(text)} | end |")
    )
    cells = [tokens[at + 1] for at, token in enumerate(tokens) if token.type == "td_open"]
    assert [seen(cell.children or []) for cell in cells] == [bare(text), "end"]


@given(TEXT, TEXT, TEXT)
def test_only_the_quotation_is_bold(before: str, quote: str, after: str) -> None:
    """What is marked is bold, whole, and nothing else is, whatever stands round it."""
    whole = before + quote + after
    tokens = inline(f"> {escape_markdown(whole, bold=[(len(before), len(before) + len(quote))])}")
    assert {token.type for token in tokens} <= SAFE
    opened = [at for at, token in enumerate(tokens) if token.type == "strong_open"]
    closed = [at for at, token in enumerate(tokens) if token.type == "strong_close"]
    assert len(opened) == len(closed) == bool(quote)
    if quote:
        assert seen(tokens[opened[0] : closed[0]]) == escape_invisible(quote).replace("\u2060", "\ufffd")


@given(TEXT)
@example("# bees")
@example("- bees")
@example("1. bees")
@example("===")
def test_a_text_at_the_beginning_of_a_line_begins_no_block(text: str) -> None:
    """No heading, list or rule, alone in a line, in a list and in a quotation."""
    for markdown in (
        f"{escape_markdown(text)} end",
        f"- {escape_markdown(text)} end",
        f"> {escape_markdown(text)} end",
    ):
        tokens = MarkdownIt("commonmark").parse(markdown)
        kinds = [token.type for token in tokens if token.type.endswith("_open") or token.type in {"hr", "code_block"}]
        outer = {"-": ["bullet_list_open", "list_item_open"], ">": ["blockquote_open"]}.get(markdown[0], [])
        assert kinds == [*outer, "paragraph_open"], markdown
