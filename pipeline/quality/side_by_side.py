"""Write a comparison of two ways to ask as Markdown: agreement by field, cost a row, then each item side by side.

Pure: what came from data is escaped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.core.text import escape_invisible, escape_markdown, mark_spans, markdown_code
from pipeline.quality.agreement import ComparedItem, FieldValues, field_agreements, field_values

MOST = 300  # characters of a value
NAMED = 80  # of an item's name
DIFFERS = "≠"


def comparison_markdown(items: Sequence[ComparedItem], *, task: str, sides: tuple[str, str], drawn: str) -> str:
    """Return the comparison of two `sides`, named in words; `drawn` says how the items were chosen."""
    both = [one for one in items if one.answers]
    alike = sum(not differing_fields(one) for one in both)
    lines = [
        f"# {escape_markdown(task)}: two ways side by side",
        "",
        *(f"- {letter}: {escape_markdown(side)}" for letter, side in zip("AB", sides, strict=True)),
        f"- {len(items)} items {escape_markdown(drawn)}; {len(both)} answered by both, {alike} of them alike",
        "",
        *_agreement(both),
        *_cost(items),
        "## Items",
    ]
    return "\n".join([*lines, *(line for one in items for line in _item(one))]) + "\n"


def differing_fields(item: ComparedItem) -> list[str]:
    """Return the fields in which both answers differ; none where one is missing."""
    return [one.field for one in _fields(item) if one.agreement < 1]


def _fields(item: ComparedItem) -> list[FieldValues]:
    return field_values(*item.answers) if item.answers else []


def _agreement(both: Sequence[ComparedItem]) -> Iterator[str]:
    if not both:
        return
    yield from ("## Agreement", "", "| field | measure | agreement |", "| --- | --- | ---: |")
    for one in field_agreements(both):
        yield f"| {escape_markdown(one.field)} | {one.measure} | {one.share:.2f} |"
    yield ""


def _cost(items: Sequence[ComparedItem]) -> Iterator[str]:
    yield "## Cost a row"
    yield ""
    yield "| side | answered | stored before | tokens in | tokens out | USD |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for letter, some in zip("AB", zip(*(one.sides for one in items), strict=True), strict=False):
        count = len(some)
        answered, stored = sum(one.answer is not None for one in some), sum(one.is_stored for one in some)
        tokens = [sum(one.tokens_in for one in some) / count, sum(one.tokens_out for one in some) / count]
        cost = sum(one.cost for one in some) / count
        yield f"| {letter} | {answered} | {stored} | {tokens[0]:,.0f} | {tokens[1]:,.0f} | {cost:.6f} |"
    yield ""


def _item(item: ComparedItem) -> Iterator[str]:
    named = "" if item.name == item.id else f" {escape_markdown(item.name, most=NAMED)}"
    yield ""
    yield f"### {markdown_code(item.id, most=NAMED)}{named}"
    yield ""
    if not item.answers:
        for letter, one in zip("AB", item.sides, strict=True):
            yield f"- {letter}: " + ("answered" if one.answer is not None else escape_markdown(one.reason, most=MOST))
        return
    yield from ("| field | A | B | |", "| --- | --- | --- | --- |")
    for two in _fields(item):
        cells = (escape_markdown(two.field), _marked(two.a, two.b), _marked(two.b, two.a))
        yield f"| {' | '.join(cells)} | {DIFFERS if two.agreement < 1 else ''} |"


def _marked(values: Sequence[str], other: Sequence[str]) -> str:
    """Return the values of one side in a cell, in bold those that the other has not."""
    rest, told = Counter(values) - Counter(other), []
    for value in values:
        shown = escape_invisible(value.strip(), most=MOST)
        told.append(mark_spans(shown, [(0, len(shown))] if rest[value] > 0 else []))
        rest[value] -= 1
    return "; ".join(told) or "-"
