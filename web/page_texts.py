"""Rewrite messages of commands for the page: links in place of commands, words for settings."""

import re
import shlex
from urllib.parse import urlencode

from markupsafe import Markup, escape

from pipeline.core.command_hint import current_form
from pipeline.core.text import CENT_USD, format_usd

# A quoted word of a shell. Quoted parts without a blank between them are one word.
_QUOTED_WORD = r"""(?:"[^"]*"|'[^']*')+"""
# A command as it is typed, with its options; a code span around it is part of it.
_OPTION_TEXT = rf"""(?:FINDABLE_)?[A-Z][A-Z_]+=(?:{_QUOTED_WORD}|[^\s`;,)]*)"""
_COMMAND = re.compile(
    rf"`?\b(?:{_OPTION_TEXT} )*(?:make|findable) ([a-z]+(?:-[a-z]+)*)"
    rf"(?: (?:{_OPTION_TEXT}|--?[a-z][\w-]*(?: [^\s`-][^\s`]*)?|…))*`?",
)
_OPTION = re.compile(rf"`?\b(?P<text>{_OPTION_TEXT})`?")
# The same condition, as an option of `findable`.
_DASHED_CONDITION = re.compile(r"""`?--where (?=["'])""")
# Any other option of `findable`.
_DASHED_OPTION = re.compile(rf"`?(?<![\w-])--(?P<name>[a-z][a-z-]*)(?: {_QUOTED_WORD})?`?")
_CODE_SPAN = re.compile("`([^`]*)`")
# The folder in an absolute path, which is not part of an address.
_FOLDER = re.compile(r"(?<![\w:/.])/(?:[^\s/:;,'\"`]+/)+")
# The page has a field for a condition. Its name in a message is not an option.
_CONDITION = re.compile(r"\bWHERE\b(?!=)")
# A setting of several words, as it is written in the environment.
_SETTING_NAME = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
# The place of the page that does the work of a command: its label, path and fragment.
_PLACES = {
    **dict.fromkeys(
        ("batches", "batch-cancel", "batch-ingest", "batch-poll", "batch-submit", "costs"),
        ("Runs", "/runs", ""),
    ),
    **dict.fromkeys(
        ("items", "show", "status", "tag", "tag-live", "passages-backfill", "export"),
        ("Rows", "/", ""),
    ),
    **dict.fromkeys(("parked", "unpark"), ("Parked rows", "/?state=parked", "")),
    **dict.fromkeys(
        ("add-expert", "import", "import-images", "import-passages"),
        ("Add", "/add", ""),
    ),
    **dict.fromkeys(("qc", "tags", "passages-pilot"), ("Quality", "/quality", "")),
    "doctor": ("Check everything", "/settings", "#doctor"),
    "index": ("Search index", "/search", "#index"),
    "search": ("Search", "/search", ""),
}

# Background work by the command in its kind, in plain words.
_WORK_LABELS = {
    **dict.fromkeys(("tag", "tag-live", "passages-backfill"), "asking the rows"),
    "batch-ingest": "storing the answers",
    "batch-poll": "getting the results",
    "batch-submit": "sending batches",
    "doctor": "checking everything",
    "index": "updating the search index",
    "passages-pilot": "trying some passages",
    "qc": "measuring the answers",
    "tags": "merging tags",
}


def to_plain_text(text: object) -> str:
    """Return a message of a command in plain words, for a place of the page without links.

    A typed command such as `make tag` becomes the quoted label of its place on the page. A typed
    setting such as MODEL=x becomes "the setting “model”", without its value. The marks of code
    spans are removed.
    """
    message = _COMMAND.sub(_quote_place, _to_usual_form(text))
    return _CODE_SPAN.sub(r"\1", _describe_options(message))


def to_html(text: object, task: str = "") -> Markup:
    """Return a message of a command as escaped HTML.

    A command for the terminal becomes a link to the place of the page that does the same. A setting
    such as MODEL=x becomes words: "the setting “model”". Code spans become code elements.

    Args:
        text: The message.
        task: The task of the links; "" for the default task.
    """
    html = Markup()
    end = 0
    message = _to_usual_form(text)
    for match in filter(_is_command, _COMMAND.finditer(message)):
        html += _spans_to_html(message[end : match.start()])
        html += _link_to(match[1], task)
        end = match.end()
    return html + _spans_to_html(message[end:])


def describe_setting(text: str) -> str:
    """Return the description of a setting, with other settings named as on the page."""
    return _SETTING_NAME.sub(
        lambda match: f"“{match[0].lower().replace('_', ' ')}”",
        to_plain_text(text),
    )


def work_label(kind: str) -> str:
    """Return the kind of background work in plain words; an unknown kind is returned unchanged."""
    return _WORK_LABELS.get(kind.partition(" ")[0], kind)


def describe_price(cost: float) -> str:
    """Return an estimated cost in USD in words."""
    if not cost:
        return "free"
    return f"about {format_usd(cost)}" if cost >= CENT_USD else format_cost(cost)


def capitalize_first(text: str) -> str:
    """Return a text with its first letter in upper case; the rest is unchanged."""
    return text[:1].upper() + text[1:]


def format_cost(amount: float) -> str:
    """Return an amount in USD; an amount below a cent is not written in full."""
    if 0 < amount < CENT_USD:
        return f"less than {format_usd(CENT_USD)}"
    return format_usd(amount)


def _to_usual_form(text: object) -> str:
    """Return a message with commands and conditions in the form that the patterns above match.

    Of the path of a file only the name stays.
    This process may have been started as another program, which the commands then name.
    """
    message = str(text)
    program = current_form().program
    if program:
        message = message.replace(f"{program} ", "findable ")
    return _FOLDER.sub("", _DASHED_CONDITION.sub("WHERE=", message))


def _is_command(match: re.Match[str]) -> bool:
    """Return whether a match of _COMMAND is a command, and not a mere word after "make"."""
    has_form = any(mark in match[0] for mark in ("`", "=", " -"))
    return has_form or match[1] in _PLACES


def _quote_place(match: re.Match[str]) -> str:
    """Return the quoted label of the place of a command; a mere word stays."""
    return f"“{_label_of(match[1])}”" if _is_command(match) else match[0]


def _label_of(command: str) -> str:
    label, _, _ = _PLACES.get(command, (f"the command {command}", "", ""))
    return label


def _link_to(command: str, task: str) -> Markup:
    """Return a link to the place of a command on the page, or its label if there is no place.

    Args:
        command: Name of the command.
        task: The task of the link; "" for the default task.
    """
    if command not in _PLACES:
        return escape(_label_of(command))
    label, path, fragment = _PLACES[command]
    query = ""
    if task:
        separator = "&" if "?" in path else "?"
        query = f"{separator}{urlencode({'task': task})}"
    return Markup('<a href="{}{}{}">{}</a>').format(path, query, fragment, label)


def _spans_to_html(text: str) -> Markup:
    html = escape(_describe_options(text))
    return Markup(_CODE_SPAN.sub(r"<code>\1</code>", str(html)))  # noqa: S704 - it is escaped


def _describe_options(text: str) -> str:
    """Return a text with words in place of options and of the name of a condition."""
    described = _CONDITION.sub("the condition", _OPTION.sub(_describe_option, text))
    return _DASHED_OPTION.sub(r"the setting “\g<name>”", described)


def _describe_option(match: re.Match[str]) -> str:
    name, _, value = match["text"].removeprefix("FINDABLE_").partition("=")
    # A condition is typed on the page as well.
    if name == "WHERE" and value[:1] in {'"', "'"}:
        try:
            (condition,) = shlex.split(value)
        except ValueError:
            # The last quotation mark follows a backslash.
            condition = value[1:-1]
        return f"“{condition}”"
    return f"the setting “{name.lower().replace('_', ' ')}”"
