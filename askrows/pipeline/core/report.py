"""The result of a command, and the texts of its figures.

A command returns a Report, which the command line prints, and whose figures are the JSON document
of programs and pages. The unit of a figure follows from the name of its member, so that it looks
the same in the report of every command.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.quotes import format_value_for_people, is_stored_quotation
from askrows.pipeline.core.states import describe_reason
from askrows.pipeline.core.text import format_duration, format_usd

# Printed once by each command with answers of the local engine.
PLACEHOLDER_NOTE = "local engine: placeholder answers for rehearsal; use none of them"
# A cell without a value.
NO_VALUE = "-"

INDENT = "    "
MINUTE_FORMAT = "%Y-%m-%d %H:%M"
# Figures that a phrase names even if they are 0.
SHOWN_ZEROS = ("cost", "spent")
# Amounts in USD.
COST_MEMBERS = (
    "cost",
    "spent",
    "control_cost",
    "cost_per_1000",
    "estimated_cost",
    "cancelled_usd",
    "other_mode_usd",
)
TIME_MEMBERS = (
    "at",
    "since",
    "first",
    "last",
    "created_at",
    "answered_at",
    "undone_at",
    "reviewed_at",
    "changed_at",
)
# Members that have no value if they are 0: rare events, and estimates of their cost.
RARE_MEMBERS = (
    "lost",
    "under_way",
    "lost_calls",
    "equal_rows",
    "control_requests",
    "refused",
    "invalid",
    "missing",
)
# Columns of lists of records that are shown as tables; see `make_table`.
TABLE_COLUMNS = {
    "answers": "answered=at version batch corrected_by=who reviewed_by reviewed_at cost",
    "attempts": "attempted=at outcome reason",
    "requests": "requested=at version batch outcome reason cost",
    "rows": "row=name outcome took=seconds tokens_in tokens_out cost",
    "accuracy": "field right=a",
}


class Table(NamedTuple):
    """A table: the names of its columns, and its rows."""

    headers: Sequence[str]
    rows: Iterable[Sequence[object]]
    # Longer cells are cut on a terminal; None for no limit.
    max_cell_chars: int | None = None


class Paragraph(NamedTuple):
    """Pieces of a wrapped paragraph; the second, fourth, … piece is bold."""

    pieces: Sequence[str]
    # Blanks before each line.
    indent: int = 0


class Listing(NamedTuple):
    """Entries: paragraphs on a terminal, a table elsewhere."""

    paragraphs: Sequence[Paragraph]
    table: Table


Part = str | Table | Paragraph | Listing
# KeyboardInterrupt if a person interrupted the command after it had a result.
Failure = AskrowsError | KeyboardInterrupt


@dataclass
class Report:
    """Result of a command, without knowledge of who shows it."""

    # The JSON document.
    figures: Any
    # The answer in a sentence; empty if the first part is the answer.
    title: str = ""
    # Lines and tables, in their order.
    parts: list[Part] = field(default_factory=list)
    # Notes about how the result came about, for people.
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # What ended the command early. The first error decides the exit code.
    errors: Sequence[Failure] = ()
    # The next command; None for the next command of the workspace.
    next_step: CommandHint | str | None = None


def warn_of_errors(
    errors: Sequence[Failure],
    display: Progress,
) -> None:
    """Print a warning for each error, with its hint; a KeyboardInterrupt prints nothing."""
    for error in errors:
        if isinstance(error, AskrowsError):
            display.warn(f"{error.message}; {error.hint}")


def raise_first_and_warn_of_others(
    errors: Sequence[Failure],
    display: Progress,
) -> None:
    """Warn of all errors but the first, then raise the first; no error is fine."""
    warn_of_errors(errors[1:], display)
    if errors:
        raise errors[0]


def run_check_and_list_error(check: Callable[[], object]) -> list[AskrowsError]:
    """Call a check of a finished result, and return its error in a list; empty if it passes."""
    try:
        check()
    except AskrowsError as error:
        return [error]
    return []


class EstimatedCost(float):
    """A cost in USD that is an estimate; it is shown with a tilde."""


def _format_cost(amount: float) -> str:
    """Return a cost in USD, with a tilde if it is an estimate."""
    tilde = "~" if isinstance(amount, EstimatedCost) else ""
    return f"{tilde}{format_usd(amount)}"


def _format_estimate(amount: float) -> str:
    """Return an estimated cost in USD with a tilde."""
    return _format_cost(EstimatedCost(amount))


def _format_minute(time: datetime | str) -> str:
    """Return a time, or its ISO text, to the minute."""
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return f"{time:{MINUTE_FORMAT}}"


def _format_share_with_interval(share: Mapping[str, Any]) -> str:
    """Return a share with its base and its interval, such as `85% of 20 [64%, 95%]`.

    If the interval is that of fewer rows, their share is named, too: `90% of 38; at random: 85%
    of 20 [64%, 95%]`. The interval is left out if it is None. An accuracy of None is written as 0%.
    """
    accuracy = share["accuracy"] or 0
    text = f"{accuracy:.0%} of {share['of']:,}"
    drawn_count = share.get("drawn", share["of"])
    if share["low"] is None:
        return text
    if drawn_count != share["of"]:
        text += f"; at random: {share['drawn_right'] / drawn_count:.0%} of {drawn_count:,}"
    return f"{text} [{share['low']:.0%}, {share['high']:.0%}]"


def _format_changes(changes: Mapping[str, Sequence[Any]]) -> str:
    """Return changed fields of an answer, such as "name: 'old' → 'new'", joined by commas.

    A changed list has no name: each removed member follows a "-", each added member a "+".

    Args:
        changes: By field, the value before and after.
    """
    parts = list[str]()
    for name, (before, after) in changes.items():
        if isinstance(after, list) and isinstance(before or [], list):
            old_members = before or []
            parts += [f"-{format_value_for_people(old)}" for old in old_members if old not in after]
            parts += [f"+{format_value_for_people(new)}" for new in after if new not in old_members]
        else:
            parts.append(
                f"{name}: {format_value_for_people(before)} → {format_value_for_people(after)}"
            )
    return ", ".join(parts)


def _format_reason(reason: str) -> str:
    """Return a reason in words; that of an answered request is no value."""
    if reason == "ok":
        return NO_VALUE
    return describe_reason(reason)


# The units of members that are no plain numbers or texts.
MEMBER_FORMATS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(COST_MEMBERS, _format_cost),
    **dict.fromkeys(("lost", "under_way"), _format_estimate),
    **dict.fromkeys(TIME_MEMBERS, _format_minute),
    **dict.fromkeys(("age_s", "seconds"), format_duration),
    **dict.fromkeys(("number", "batch"), str),
    **dict.fromkeys(("a", "b"), _format_share_with_interval),
    "p": "{:.2g}".format,
    "weak": "{:.1%}".format,
    "reason": _format_reason,
    "changes": _format_changes,
    "passed": {True: "pass", False: "FAIL"}.__getitem__,
}


def format_member(
    name: str,
    value: Any,
) -> str:
    """Return the value of a member as text, in the unit of its name; no value is a hyphen.

    None, an empty value, and a 0 of RARE_MEMBERS are no value. MEMBER_FORMATS has the formats by
    name. Otherwise a bool is "yes" or "no", and an integer has commas. A list is joined by commas.
    An object of integers is written by `format_counts`. Other lists and objects are JSON.
    """
    if value is None or value in ("", [], {}) or (name in RARE_MEMBERS and not value):
        return NO_VALUE
    if name in MEMBER_FORMATS:
        return MEMBER_FORMATS[name](value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping) and all(isinstance(part, int) for part in value.values()):
        text = format_counts(value)
    elif isinstance(value, list | tuple) and not any(
        isinstance(part, list | Mapping) for part in value
    ):
        text = ", ".join(map(str, value))
    elif isinstance(value, float | list | Mapping):
        text = format_value_for_people(value)
    else:
        text = str(value)
    return text


def format_counts(counts: Mapping[str, int]) -> str:
    """Return counts by name as a phrase, such as "22 added, 1 no_bio"; a count of 0 is left out."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def format_members_as_phrase(
    document: Mapping[str, Any],
    names: str,
) -> str:
    """Return members of a document as a phrase, such as "22 added, $0.10 spent".

    A member that is None, empty or 0 is left out, except a 0 of SHOWN_ZEROS. A list is shown as its
    length. A heading in the plural loses its "s" after a 1.

    Args:
        document: The document.
        names: The members, as in `make_table`.
    """
    parts = []
    for heading, name in _parse_headings_and_names(names):
        value = document[name]
        figure = len(value) if isinstance(value, list | tuple) else value
        if figure or (figure is not None and name in SHOWN_ZEROS):
            noun = heading.removesuffix("s") if figure == 1 else heading
            parts.append(f"{format_member(name, figure)} {noun}")
    return ", ".join(parts)


def format_members_as_line(
    document: Mapping[str, Any],
    names: str,
) -> str:
    """Return headings and values of members as a line, such as "batch 2; cost $0.10".

    Args:
        document: The document.
        names: The members, as in `make_table`; those without a value are left out.
    """
    fields = [
        (heading, format_member(name, document[name]))
        for heading, name in _parse_headings_and_names(names)
    ]
    return "; ".join(f"{heading} {text}" for heading, text in fields if text != NO_VALUE)


def make_document_parts(
    document: Mapping[str, Any],
    names: str,
) -> list[Part]:
    """Return the parts of a report about some members of a document, in their order.

    A list of records is a table if TABLE_COLUMNS has its name. Other members are lines (see
    `format_nested_lines`).

    Args:
        document: The document.
        names: The members, as in `make_table`.
    """
    parts: list[Part] = []
    for heading, name in _parse_headings_and_names(names):
        value = document[name]
        if name in TABLE_COLUMNS and value:
            parts.append(make_table(value, TABLE_COLUMNS[name]))
        else:
            parts += format_nested_lines(heading, value)
    return parts


def format_nested_lines(
    name: str,
    value: Any,
    indent: str = "",
) -> Iterator[str]:
    """Yield the lines of a nested value, such as an answer.

    Members of an object are on further lines, indented by INDENT. If a list contains objects or
    lists, its members are numbered from 1. Other lists are joined by commas. A member that is None
    or empty is left out.

    Args:
        name: The name of the value.
        value: The value. Its units are not known, because it may contain users' data.
        indent: Blanks before each line.
    """
    if value in (None, "", [], {}):
        return
    is_list = isinstance(value, list | tuple)
    if isinstance(value, Mapping) and not is_stored_quotation(value):
        yield f"{indent}{name}:"
        for member_name, member in value.items():
            yield from format_nested_lines(member_name, member, indent + INDENT)
    elif is_list and any(isinstance(element, list | Mapping) for element in value):
        for number, element in enumerate(
            value,
            start=1,
        ):
            yield from format_nested_lines(f"{name} {number}", element, indent)
    elif is_list:
        yield f"{indent}{name}: {', '.join(map(format_value_for_people, value))}"
    elif isinstance(value, datetime):
        yield f"{indent}{name}: {_format_minute(value)}"
    else:
        yield f"{indent}{name}: {format_value_for_people(value)}"


def make_table(
    documents: Iterable[Mapping[str, Any]],
    names: str,
) -> Table:
    """Return a table of records.

    Args:
        documents: The records.
        names: The names of the columns, which are members, with blanks between them. A column with
            another heading is written `heading=name`; underscores of headings are shown as blanks.
    """
    columns = _parse_headings_and_names(names)
    rows = [[format_member(name, document[name]) for _, name in columns] for document in documents]
    return Table([heading for heading, _ in columns], rows)


def _parse_headings_and_names(names: str) -> list[tuple[str, str]]:
    """Return the heading and the name of each member; see `make_table`.

    Without "heading=", the name is the heading. In headings, blanks replace underscores.
    """
    columns = []
    for name in names.split():
        heading, _, member = name.rpartition("=")
        columns.append(((heading or member).replace("_", " "), member))
    return columns
