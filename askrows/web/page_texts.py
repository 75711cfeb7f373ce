"""Rewrite messages of commands for the page: links in place of commands, no settings."""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote_plus

from markupsafe import Markup, escape

from askrows.pipeline.core.column_placeholders import find_column_by_exact_or_folded_name
from askrows.pipeline.core.command_hint import get_command_form
from askrows.pipeline.core.text import CENT_USD, format_usd
from askrows.pipeline.workflows.try_out import list_prompt_texts

# A setting or option as it is typed, with its value; a quoted value may contain blanks.
_VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s`;,)"'])*"""
_OPTION_TEXT = rf"(?:(?:ASKROWS_)?[A-Z][A-Z_]+={_VALUE}|(?<![\w-])--[a-z][a-z-]*(?: {_VALUE})?)"
_OPTION = re.compile(rf"`?{_OPTION_TEXT}`?")
# A command as it is typed, with its options; a code span with a command is the command.
_COMMAND = re.compile(
    r"`[^`]*\b(?:make|askrows) (?P<span>[a-z]+(?:-[a-z]+)*)[^`]*`"
    rf"|\b(?:{_OPTION_TEXT} )*(?:make|askrows) (?P<word>[a-z]+(?:-[a-z]+)*)(?: {_OPTION_TEXT})*"
)
# A message about a batch begins with its number.
_BATCH = re.compile(r"^batch (\d+)(?=:| is held:)")
_CODE_SPAN = re.compile("`([^`]*)`")
# The folder in an absolute path, which is not part of an address.
_FOLDER = re.compile(r"(?<![\w:/.])/(?:[^\s/:;,'\"`]+/)+")
# The page has a field for a condition. Its name in a message is not an option.
_CONDITION = re.compile(r"\bWHERE\b(?!=)")
# A setting as it is typed: with several words, or with its signs.
_SETTING_NAME = re.compile(
    r"\b(?:ASKROWS_)?([A-Z]+(?:_[A-Z]+)+|[A-Z]+(?==))=?|(?<![\w-])--([a-z-]+)"
)
# Between two clauses of a message, but not within quotation marks.
_CLAUSE_END = re.compile(r'; (?=(?:[^"]*"[^"]*")*[^"]*$)')
# A value in a prompt, between tags with the name of its column.
_SENT_VALUE = re.compile(r"<(\w+)>(.*?)(?:</\1>|$)", re.DOTALL)
# Words for a terminal, and those of the page.
_PAGE_WORDS = {
    " (STOP)": "",
    "in the index in service": "in the search yet",
    "GEMINI_API_KEY": "the API key",
    "run the same command again": "try again",
}
# The place of the page that does the work of a command: its label, and its address for a task.
_PLACES = {
    **dict.fromkeys(
        ("batches", "batch-cancel", "batch-ingest", "batch-poll", "batch-submit", "costs"),
        ("Runs", "/runs?task={}"),
    ),
    **dict.fromkeys(
        ("items", "show", "status", "tag", "tag-live", "passages-backfill", "export"),
        ("Rows", "/?task={}"),
    ),
    **dict.fromkeys(("parked", "unpark"), ("Rows set aside", "/?task={}&state=parked")),
    **dict.fromkeys(
        ("add-expert", "import", "import-images", "import-passages"),
        ("Add", "/add?task={}"),
    ),
    **dict.fromkeys(("qc", "tags", "passages-pilot"), ("Quality", "/quality?task={}")),
    "doctor": ("Check everything", "/settings?task={}#doctor"),
    "index": ("Prepare the search", "/search?task={}#index"),
    "search": ("Search", "/search?task={}"),
}

# Background work by the command in its kind, in plain words.
_WORK_LABELS = {
    **dict.fromkeys(("tag", "tag-live", "passages-backfill"), "asking the rows"),
    "ask": "asking the chosen rows",
    "batch-ingest": "storing the answers",
    "batch-poll": "getting the results",
    "batch-submit": "sending batches",
    "correct": "correcting an answer",
    "doctor": "checking everything",
    "index": "preparing the search",
    "passages-pilot": "trying some passages",
    "qc": "measuring the answers",
    "tags": "merging tags",
}


def to_plain_text(text: object) -> str:
    """Return a message of a command in plain words, for a place of the page without links.

    A typed command such as `make tag` becomes the quoted label of its place on the page. The marks
    of code spans are removed. Clauses for a terminal are left out, unless no clause is left; then
    settings are named as on the page.
    """
    message = adapt_message_to_page(text) or quote_setting_names(str(text))
    return _CODE_SPAN.sub(r"\1", _COMMAND.sub(_quote_place, message))


def to_html(text: object, task: str = "") -> Markup:
    """Return a message of a command as escaped HTML, with the clauses of `to_plain_text`.

    A command becomes a link to the place of the page that does the same, and the number of a batch
    at the beginning a link to the batch. Code spans become code elements.

    Args:
        text: The message.
        task: The task of the links; "" for the default task.
    """
    message = str(escape(adapt_message_to_page(text) or quote_setting_names(str(text))))
    linked = _COMMAND.sub(partial(_link_place, task=task), message)
    linked = _BATCH.sub(r'<a href="/batch?number=\1">batch \1</a>', linked)
    return Markup(_CODE_SPAN.sub(r"<code>\1</code>", linked))  # noqa: S704 - it is escaped


def adapt_message_to_page(text: object) -> str:
    """Return a message as the page shows it: without the clauses that are for a terminal.

    Semicolons separate clauses. A clause is for a terminal if it has a setting, or a command
    without a place on the page. Of the path of a file only the name stays. WHERE becomes "the
    condition", some words for a terminal become words of the page, and the program that this
    process was started as becomes `askrows`. The result is "" if no clause is left.
    """
    message = str(text)
    for typed, shown in _PAGE_WORDS.items():
        message = message.replace(typed, shown)
    program = get_command_form().program
    if program:
        message = message.replace(f"{program} ", "askrows ")
    message = _FOLDER.sub("", _CONDITION.sub("the condition", message))
    clauses = _CLAUSE_END.split(message)
    return "; ".join(clause for clause in clauses if not _is_for_terminal(clause))


def quote_setting_names(text: str) -> str:
    """Return a text in which each name of a setting is in words and quoted, as on the page."""

    def quote_name(match: re.Match[str]) -> str:
        """Return the name of a setting in words."""
        name = (match[1] or match[2]).lower()
        return f"“{name.replace('_', ' ').replace('-', ' ')}”"

    return _SETTING_NAME.sub(quote_name, text)


def work_label(kind: str) -> str:
    """Return the kind of background work in plain words; an unknown kind is returned unchanged."""
    return _WORK_LABELS.get(kind.partition(" ")[0], kind)


def describe_price(cost: float | None) -> str:
    """Return an estimated cost in USD in words; None is a cost that is unknown."""
    if cost is None:
        return "cost unknown"
    if not cost:
        return "free"
    return f"about {format_usd(cost)}" if cost >= CENT_USD else format_cost(cost)


def list_sent_columns(request: Mapping[str, Any], columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return the columns of a table that a request has, each with its value."""
    prompt = "\n".join(list_prompt_texts(request))
    named_values = _SENT_VALUE.findall(prompt)
    return [
        (find_column_by_exact_or_folded_name(name, columns) or name, value)
        for name, value in named_values
    ]


def capitalize_first(text: str) -> str:
    """Return a text with its first letter in upper case; the rest is unchanged."""
    return text[:1].upper() + text[1:]


def format_cost(amount: float) -> str:
    """Return an amount in USD; an amount below a cent is not written in full."""
    if 0 < amount < CENT_USD:
        return f"less than {format_usd(CENT_USD)}"
    return format_usd(amount)


def _is_for_terminal(clause: str) -> bool:
    """Return whether a clause has a setting, or a command without a place on the page."""
    if any(match["span"] not in {None, *_PLACES} for match in _COMMAND.finditer(clause)):
        return True
    return _OPTION.search(_COMMAND.sub("", clause)) is not None


def _quote_place(match: re.Match[str]) -> str:
    """Return the quoted label of the place of a command; a mere word after "make" stays."""
    command = match["span"] or match["word"]
    if command in _PLACES:
        return f"“{_PLACES[command][0]}”"
    return f"“{command}”" if match["span"] else match[0]


def _link_place(match: re.Match[str], task: str) -> str:
    """Return a link to the place of a command; a mere word after "make" stays."""
    command = match["span"] or match["word"]
    if command not in _PLACES:
        return _quote_place(match)
    label, address = _PLACES[command]
    return f'<a href="{escape(address.format(quote_plus(task)))}">{label}</a>'
