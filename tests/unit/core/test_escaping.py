"""A text stays text in Markdown and in a table."""

import itertools
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from askrows.pipeline.core.text import format_markdown_code, replace_invisible_characters

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    st.sampled_from("ab|\\`*_{}[]()<>#+-.!~&;:/@$^=\n\r\t \u202e\u2066\u2069\u05d0"), max_size=40
)
SAFE = {"text", "code_inline", "strong_open", "strong_close"}


def parse_inline(markdown: str) -> list[Any]:
    """Return the tokens inside the blocks of a document."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    inline_tokens = [token for token in tokens if token.type == "inline"]
    return list(itertools.chain.from_iterable(token.children or [] for token in inline_tokens))


def join_text(tokens: list[Any]) -> str:
    """Return the text of some tokens."""
    return "".join(token.content for token in tokens)


def escape_text(text: str) -> str:
    """Return a text in the form that a person sees."""
    return replace_invisible_characters(text).replace("`", "\ufffd").replace("|", "\u00a6")


@given(TEXT, TEXT, TEXT)
@example("<b>bees</b><!-- and --><img src=x>", "", "")
def test_text_is_unchanged_and_only_the_quotation_is_bold(
    prefix: str, quote: str, suffix: str
) -> None:
    """A viewer displays the text without links, mark-up or HTML, and a table keeps its cells."""
    text = prefix + quote + suffix
    code = format_markdown_code(
        text, bold=[(len(prefix), len(prefix) + len(quote))] if quote else []
    )
    tokens = parse_inline(f"> {code}")
    assert {token.type for token in tokens} <= SAFE
    opening_indexes, closing_indexes = (
        [index for index, token in enumerate(tokens) if token.type == f"strong_{way}"]
        for way in ("open", "close")
    )
    assert len(opening_indexes) == len(closing_indexes) == bool(quote)
    if quote:
        assert (
            join_text(tokens[opening_indexes[0] : closing_indexes[0]]).strip()
            == escape_text(quote).strip()
        )
    tokens = (
        MarkdownIt("commonmark")
        .enable("table")
        .parse(f"| a | b |\n| --- | --- |\n| {format_markdown_code(text)} | end |")
    )
    cells = [tokens[index + 1] for index, token in enumerate(tokens) if token.type == "td_open"]
    assert [join_text(cell.children or []).strip() for cell in cells] == [
        escape_text(text.strip()).strip(),
        "end",
    ]
