"""What stands in a text stays text: in Markdown and in a table."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it; it reads Markdown as CommonMark has it

from pipeline.core.text import escape_invisible, markdown_code

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    st.sampled_from("ab|\\`*_{}[]()<>#+-.!~&;:/@$^=\n\r\t \u202e\u2066\u2069\u05d0"), max_size=40
)
SAFE = {"text", "code_inline", "strong_open", "strong_close"}


def inline(markdown: str) -> list[Any]:
    """Return the tokens inside the blocks of a document."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [child for token in tokens if token.type == "inline" for child in token.children or []]


def seen(tokens: list[Any]) -> str:
    """Return the text of some tokens."""
    return "".join(token.content for token in tokens)


def bare(text: str) -> str:
    """Return a text as a person sees it."""
    return escape_invisible(text).replace("`", "\ufffd").replace("|", "\u00a6")


@given(TEXT, TEXT, TEXT)
@example("<b>bees</b><!-- and --><img src=x>", "", "")
def test_a_text_stays_that_text_and_only_the_quotation_is_bold(
    before: str, quote: str, after: str
) -> None:
    """Whatever a text holds, a viewer shows it as it is, without a link, mark-up or HTML; a table keeps its cells."""
    whole = before + quote + after
    code = markdown_code(whole, bold=[(len(before), len(before) + len(quote))] if quote else [])
    tokens = inline(f"> {code}")
    assert {token.type for token in tokens} <= SAFE
    opened, closed = (
        [index for index, one in enumerate(tokens) if one.type == f"strong_{way}"]
        for way in ("open", "close")
    )
    assert len(opened) == len(closed) == bool(quote)
    if quote:
        assert seen(tokens[opened[0] : closed[0]]).strip() == bare(quote).strip()
    tokens = (
        MarkdownIt("commonmark")
        .enable("table")
        .parse(f"| a | b |\n| --- | --- |\n| {markdown_code(whole)} | end |")
    )
    cells = [tokens[index + 1] for index, token in enumerate(tokens) if token.type == "td_open"]
    assert [seen(cell.children or []).strip() for cell in cells] == [
        bare(whole.strip()).strip(),
        "end",
    ]
