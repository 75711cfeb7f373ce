"""Guess the key and the text column of a table, and say which columns are sent.

- Key and text column are guessed from their names in a dozen languages.
- Otherwise the text is the longest column.
- A key has a value in every row and no value twice, whatever its name is.
- If no column can be the key, the key is a hash of the row.
- Columns that a person named come first.

A finding is a row that could not be read, with its fault.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from statistics import fmean

from pipeline.core.column_placeholders import find_column, list_template_columns
from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import HASH_KEY
from pipeline.core.errors import InputError
from pipeline.core.text import join_first, plural
from pipeline.engine.task_template import (
    GUESS_ALL_COLUMNS,
    RESERVED_COLUMN_NAMES,
    ColumnChoice,
    TableGuess,
)
from pipeline.tables.cells import to_prompt_text
from pipeline.tables.columns import KNOWN_COLUMN_NAMES, fold_name
from pipeline.tables.row_findings import Finding, SourceRow, make_excerpt
from pipeline.tables.row_sync import KEY_KINDS
from pipeline.tables.source import QuerySource

# Rows whose texts are measured to guess the columns.
MAX_SAMPLE_ROWS = 1_000
# Our choice: if at least this many rows have a key, rows without one are refused. If fewer
# rows have one, the column is not a key.
MIN_KEYS_BESIDE_BLANK = 3
# Our choice: a key may be blank in one of so many rows.
ROWS_PER_BLANK_KEY = 10
# Our choice: a column with a longer text is not a key, unless its name is that of a key.
MAX_KEY_CHARS = 100
MAX_COLUMNS_SHOWN = 12
MAX_KEY_FAULTS_SHOWN = 3
# Columns that are checked to suggest another key; all rows are read for each.
MAX_CHECKED_KEYS = 3
# Names of columns that can be keys if no column has the usual name of a key.
_FALLBACK_KEY_NAMES = (
    "name",
    "slug",
    "url",
    "username",
    "email",
    "title",
)
_KEY_SUFFIX = re.compile(r"[\s_.-](?i:id|key|nr\.?|no\.?|code|number|nummer)$|(?<=[a-z])I[dD]$")
_IMAGE = re.compile(
    r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$",
    re.IGNORECASE,
)
# A UUID, hash or other code: no blanks, and a digit.
_CODE = re.compile(r"(?=.*\d)[!-~]+")
# Our choice: a column of codes has so large a share of them.
_MIN_CODE_SHARE = 0.9
_NON_WORD_CHARS = re.compile(r"\W+")


def guess_key_and_content(
    columns: Mapping[str, str],
    rows: Iterable[SourceRow | Finding],
    choice: ColumnChoice = GUESS_ALL_COLUMNS,
) -> TableGuess:
    """Guess the key and the text or image column of a table, unless a person named them.

    No other column is guessed. The result also has the columns that are sent to the model: the text
    or image column, and those that a person named. The text is guessed from the first
    MAX_SAMPLE_ROWS rows. A guessed key has no value twice in all rows, and at most a few blank
    cells (see `_find_key_fault`). If no column can be the key, it is HASH_KEY, which means a hash
    of the row. The notes of the result are lines to print about the choice of key, text and sent
    columns.

    Args:
        columns: Kinds of the columns, by name.
        rows: The rows; they are read several times. Findings, which are rows with a fault, are
            skipped.
        choice: Columns that a person named.

    Raises:
        InputError: There is no column, a chosen column does not exist or cannot be a key, no column
            is left for the text, or the name of a sent column cannot be made into a placeholder of
            a prompt.
    """
    if not columns:
        raise InputError("the table has no rows and no columns; nothing was written")

    resolved_choice = _resolve_choice(choice, columns)
    sample_rows = list(islice((row for row in rows if isinstance(row, SourceRow)), MAX_SAMPLE_ROWS))
    cells = {
        name: [to_prompt_text(row.values.get(name)) for row in sample_rows] for name in columns
    }

    key_candidates = [
        name
        for name, kind in columns.items()
        if kind in KEY_KINDS and name.casefold() not in RESERVED_COLUMN_NAMES
    ]
    likely_keys = _list_likely_keys(key_candidates)
    if resolved_choice.key:
        key = resolved_choice.key
        key_note = ""
    else:
        # A single row without a key makes a query fail.
        may_be_blank = not isinstance(rows, QuerySource)
        key, key_note = _choose_key(likely_keys, rows, may_be_blank=may_be_blank)

    text_columns = [name for name, kind in columns.items() if kind == "text"]
    images = [name for name in text_columns if name != key and _are_images(cells[name])]
    wordy = [name for name in text_columns if any(map(str.isalpha, "".join(cells[name])))]
    if resolved_choice.text:
        content_column = resolved_choice.text
        content_reason = f"named by {OptionHint('text')}"
    else:
        is_only_column = len(columns) == 1
        # A column named `id` is no text, even if it repeats values and cannot be the key.
        keys = {key, *_find_columns_named(key_candidates, KNOWN_COLUMN_NAMES["key"])}
        free = [
            name
            for name in columns
            if name not in {*images, *resolved_choice.more_columns}
            and (name not in keys or is_only_column)
        ]
        wordy_free = [name for name in free if name in wordy]
        content_column, content_reason = _guess_text(free, wordy_free, images, cells)

    # Columns with other names can be keys too, but only now is the text known.
    unlikely_keys = [
        name
        for name in key_candidates
        if name not in {*likely_keys, content_column} and _is_short_and_unique(cells[name])
    ]
    if resolved_choice.key:
        other_keys = [
            name for name in (*likely_keys, *unlikely_keys) if name not in {key, content_column}
        ]
        key_note = _describe_chosen_key(key, key_candidates, rows, other_keys=other_keys)
    elif key == HASH_KEY:
        key, unlikely_key_note = _choose_key(unlikely_keys, rows, may_be_blank=False)
        if key != HASH_KEY:
            key_note = unlikely_key_note

    sent = (
        *(name for name in resolved_choice.more_columns if name != content_column),
        content_column,
    )
    sent_texts = [name for name in sent if name not in images]
    roles = dict.fromkeys(sent_texts, f"named by {OptionHint('with')}")
    roles[content_column] = f"the text column: {content_reason}"
    prompt_names = [_make_prompt_name(name, columns, roles[name]) for name in sent_texts]

    content_kind = "image" if content_column in images else "text"
    content_note = f"{content_kind} column: {make_excerpt(content_column)} ({content_reason})"
    return TableGuess(
        key=key,
        text=sent_texts[-1] if sent_texts else "",
        sent=sent,
        prompt_names=tuple(prompt_names),
        is_text_quotable=content_column in wordy and len(sent_texts) == len(sent),
        notes=(key_note, content_note, _describe_sent_columns(sent, columns, key)),
        image_columns=tuple(name for name in sent if name in images),
    )


def _list_likely_keys(key_candidates: Sequence[str]) -> list[str]:
    """Return the columns whose names suggest a key, the most likely first.

    First the usual names of keys in several languages, then names with a suffix such as `_id`, then
    names such as `name` or `url`.
    """
    usual_names = _find_columns_named(key_candidates, KNOWN_COLUMN_NAMES["key"])
    with_suffix = [name for name in key_candidates if _KEY_SUFFIX.search(name)]
    fallback_names = _find_columns_named(key_candidates, _FALLBACK_KEY_NAMES)
    return list(dict.fromkeys([*usual_names, *with_suffix, *fallback_names]))


def _resolve_choice(choice: ColumnChoice, columns: Iterable[str]) -> ColumnChoice:
    """Return a choice with the column names as the table spells them.

    `more_columns` may be a single text of names with commas between them. It is split, unless the
    whole text is the name of one column. Blank and repeated names are dropped.

    Raises:
        InputError: The table has no such column.
    """
    extra_columns = choice.more_columns
    if isinstance(extra_columns, str):
        # The name of a single column may have a comma without quotes.
        is_name = bool(extra_columns) and find_column(extra_columns, columns) is not None
        extra_columns = (
            [extra_columns]
            if is_name
            else next(csv.reader([extra_columns], skipinitialspace=True), [])
        )

    text = ""
    if choice.text:
        text = _resolve_column(choice.text, columns, "text")
    key = choice.key
    if key and key != HASH_KEY:
        key = _resolve_column(key, columns, "key")
    other_names = [_resolve_column(name, columns, "with") for name in extra_columns if name.strip()]
    return ColumnChoice(text, key, tuple(dict.fromkeys(other_names)))


def _resolve_column(name: str, columns: Iterable[str], option: str) -> str:
    """Return the column that a typed name means, as the table spells it.

    It is the column of exactly this name, else the only one with the same letters and digits
    without regard to case, blanks and punctuation.

    Args:
        name: Name as a person typed it.
        columns: Columns of the table.
        option: Option that has the name, for the message.

    Raises:
        InputError: No column has the name, or several do; the hint has the most similar names.
    """
    column = find_column(name.strip(), columns)
    if column is not None:
        return column

    columns_by_letters = {fold_name(column_name): column_name for column_name in columns}
    similar_columns = [
        columns_by_letters[letters]
        for letters in get_close_matches(fold_name(name), columns_by_letters)
    ]
    shown_columns = join_first(
        [repr(make_excerpt(column_name)) for column_name in columns],
        MAX_COLUMNS_SHOWN,
    )
    message = (
        f"{OptionHint(option)} names no column of the table: {make_excerpt(name)!r}; "
        f"columns: {shown_columns}; nothing was asked"
    )
    hint = f"{OptionHint(option)} must be one of these columns"
    is_list = all(find_column(part.strip(), columns) for part in name.split(","))
    if option == "key" and is_list:
        hint = 'here one column is the key; a task\'s file takes several: key=["a", "b"]'
    elif similar_columns:
        suggestions = " or ".join(
            repr(make_excerpt(column_name)) for column_name in similar_columns
        )
        hint = f"did you mean {suggestions}?"
    raise InputError(message, hint=hint)


def _guess_text(
    free: Sequence[str],
    wordy: Sequence[str],
    images: Sequence[str],
    cells: Mapping[str, Sequence[str]],
) -> tuple[str, str]:
    """Return the column to ask about, and the reason as a phrase.

    The rules in this order:

    1. The first image column, if there is any and no free column has letters.
    2. The first column with letters whose name is a usual name of a text.
    3. The column with the longest texts on average. Columns without letters, and then columns of
       codes such as UUIDs, are left out if others remain.

    Args:
        free: Columns that are not images, not the key, and not named as further sent columns.
        wordy: The free columns that have letters.
        images: Columns with image names.
        cells: Texts of the sampled cells, by column.

    Raises:
        InputError: No column is free.
    """
    if images and not wordy:
        return images[0], "its cells are images or names of image files"
    named_as_text = _find_columns_named(wordy, ("text", *KNOWN_COLUMN_NAMES["any_text"]))
    if named_as_text:
        return named_as_text[0], "found by its name"
    if not free:
        raise InputError(
            "no column is left for the text; nothing was asked",
            hint=f"{OptionHint('text')} names the text column",
        )

    candidates = [name for name in wordy if not _are_codes(cells[name])] or wordy or free
    mean_lengths = {
        name: fmean(map(len, cells[name])) if cells[name] else 0.0 for name in candidates
    }
    longest = max(mean_lengths, key=lambda name: mean_lengths[name])
    return longest, f"longest on average, {mean_lengths[longest]:,.0f} characters"


def _describe_sent_columns(sent: Sequence[str], columns: Iterable[str], key: str) -> str:
    """Return the line that names the columns that are sent to the model, and the other columns.

    At most MAX_COLUMNS_SHOWN of the other columns are named. The line also names the key if it is a
    column that is not sent, because a batch sends it with each request.
    """
    unsent_columns = [repr(make_excerpt(name)) for name in columns if name not in sent]
    note = f"columns sent: {', '.join(repr(make_excerpt(name)) for name in sent)}"
    if unsent_columns:
        unsent_text = join_first(unsent_columns, MAX_COLUMNS_SHOWN)
        note += f"; not sent: {unsent_text} ({OptionHint('with')} adds columns)"
    if key not in {HASH_KEY, *sent}:
        note += f"; batches also send the key, {make_excerpt(key)!r}"
    return note


def _find_columns_named(columns: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return the columns that have one of the names, in the order of the names.

    Names are equal if `fold_name` makes them so. If several columns are equal, the first is
    returned.
    """
    columns_by_letters = {fold_name(column): column for column in reversed(list(columns))}
    folded_names = [fold_name(name) for name in names]
    return [columns_by_letters[name] for name in folded_names if name in columns_by_letters]


def _describe_chosen_key(
    key: str,
    key_candidates: Sequence[str],
    rows: Iterable[SourceRow | Finding],
    *,
    other_keys: Sequence[str],
) -> str:
    """Return the line about a key that a person chose, with its fault if it has one.

    All rows are read, unless the key is HASH_KEY or is refused. A key with blank or repeated values
    is accepted: the line says that such rows are refused, which happens later, and names another
    column without such values.

    Args:
        key: The column, or HASH_KEY for a hash of the row.
        key_candidates: Columns whose kind can be a key.
        rows: All rows.
        other_keys: Other columns to propose, the most likely first; at most MAX_CHECKED_KEYS are
            checked.

    Raises:
        InputError: The column is neither text nor whole numbers, or its name is reserved.
    """
    if key == HASH_KEY:
        return f"key: a hash of each row ({OptionHint(key=HASH_KEY)})"
    if key not in key_candidates:
        message = (
            f"column {make_excerpt(key)!r} cannot be the key: "
            "a key is a text or a whole number; nothing was asked"
        )
        raise InputError(message, hint=f"{OptionHint(key=HASH_KEY)} uses a hash of each row")

    note = f"key column: {make_excerpt(key)} (named by {OptionHint('key')})"
    fault, _ = _find_key_fault(key, rows, may_be_blank=False)
    if fault:
        note += f"; it {fault}, and such rows are refused"
        other_key, _ = _choose_key(other_keys[:MAX_CHECKED_KEYS], rows, may_be_blank=False)
        if other_key != HASH_KEY:
            note += f"; {OptionHint(key=other_key)} has a value in every row, and no value twice"
    return note


def _choose_key(
    names: Iterable[str],
    rows: Iterable[SourceRow | Finding],
    *,
    may_be_blank: bool,
) -> tuple[str, str]:
    """Return the first column that can be the key, and a line that says why; else HASH_KEY.

    A column can be the key if no value is in it twice and it has no blank cell, or with
    `may_be_blank` only a few. HASH_KEY means a hash of each row, and its line has the faults of at
    most MAX_KEY_FAULTS_SHOWN columns.

    Args:
        names: Columns to check, the most likely first.
        rows: All rows, which are read once for each checked column.
        may_be_blank: Accept a few blank cells, as `_find_key_fault` counts them.
    """
    faults = list[str]()
    for name in names:
        fault, blank_count = _find_key_fault(name, rows, may_be_blank=may_be_blank)
        if fault:
            faults.append(f"{make_excerpt(name)!r} {fault}")
            continue
        coverage = "filled in every row"
        if blank_count:
            coverage = plural(blank_count, "row without it is", "rows without it are") + " refused"
        return name, f"key column: {make_excerpt(name)} (no value twice, {coverage})"

    reason = "; ".join(faults[:MAX_KEY_FAULTS_SHOWN]) or "no column is named like a key"
    return HASH_KEY, f"key: a hash of each row, because {reason}"


def _find_key_fault(
    name: str,
    rows: Iterable[SourceRow | Finding],
    *,
    may_be_blank: bool,
) -> tuple[str, int]:
    """Return why a column cannot be the key ("" if it can), and its number of blank cells.

    A repeated value, too many blank cells, or no value at all are faults. Reading stops at a
    repeated value; otherwise all rows are read.

    Args:
        name: The column.
        rows: All rows; findings, which are rows with a fault, are skipped.
        may_be_blank: Accept a few blank cells if there are at least MIN_KEYS_BESIDE_BLANK different
            values. The limit is the number of values divided by ROWS_PER_BLANK_KEY, and at least 1.

    Returns:
        The fault as a phrase such as "is blank on line 3", and the number of blank cells. If there
        is a fault, the number has no meaning.
    """
    keys = set[str]()
    blank_lines = list[int]()
    for row in rows:
        if not isinstance(row, SourceRow):
            continue
        key = to_prompt_text(row.values.get(name))
        if key in keys:
            return f"has {make_excerpt(key)!r} twice, again on line {row.line_number}", 0
        if key.strip():
            keys.add(key)
        else:
            blank_lines.append(row.line_number)

    max_blank = 0
    if may_be_blank and len(keys) >= MIN_KEYS_BESIDE_BLANK:
        max_blank = max(1, len(keys) // ROWS_PER_BLANK_KEY)
    if len(blank_lines) > max_blank:
        return f"is blank on line {blank_lines[0]}", 0
    return "" if keys else "has no value", len(blank_lines)


def _is_short_and_unique(texts: Sequence[str]) -> bool:
    """Return whether the texts differ, and none is longer than MAX_KEY_CHARS."""
    return len(set(texts)) == len(texts) and max(map(len, texts), default=0) <= MAX_KEY_CHARS


def _are_images(texts: Iterable[str]) -> bool:
    """Return whether more than half of the texts that are not blank are names of image files.

    False if all texts are blank.
    """
    matches = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(matches) * 2 > len(matches)


def _are_codes(texts: Iterable[str]) -> bool:
    """Return whether nearly all texts that are not blank are codes, such as UUIDs or hashes."""
    matches = [_CODE.fullmatch(text.strip()) is not None for text in texts if text.strip()]
    return sum(matches) >= _MIN_CODE_SHARE * len(matches)


def _make_prompt_name(column: str, columns: Iterable[str], role: str) -> str:
    """Return a column's name for use in braces in a prompt: `Review_Text` for `Review Text`.

    Characters that are not allowed there become `_`. A name that begins with a digit gets a `_`
    before it, so `2nd` becomes `_2nd`.

    Args:
        column: The column.
        columns: All columns of the table.
        role: Why the column is sent, as a phrase for the message.

    Raises:
        InputError: The column's name has neither letter nor digit, or with the replaced characters
            the name could also mean another column.
    """
    name = (
        column
        if list_template_columns(f"{{{column}}}")
        else _NON_WORD_CHARS.sub("_", column).strip("_")
    )
    if name[:1].isdecimal():
        name = f"_{name}"
    if list_template_columns(f"{{{name}}}") == (name,) and find_column(name, columns) == column:
        return name
    raise InputError(
        f"column {make_excerpt(column)!r} ({role}) cannot be named in a prompt: its name has no "
        "letter, or is too similar to another column's name; nothing was written",
        hint="rename the column in the source (in a query with AS), then repeat the command",
    )
