"""Vocabularies: the terms that a field of an answer may contain, from a CSV file.

The file has the columns term, description and aliases. In the JSON schema of an answer, the member
`VOCABULARY` of a field contains the file and its terms.
"""

import csv
import inspect
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.files import make_path_hint
from askrows.pipeline.core.folding import FoldedText

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

# Member of the JSON schema of a field with a vocabulary.
VOCABULARY = "x-vocabulary"
# Options of a choice and levels of a score (types of google-genai 3.3.0), and our own limit of the
# terms of a vocabulary.
MAX_OPTIONS = 255
COLUMNS = ("term", "description", "aliases")
# Characters of a value in a message.
_MAX_SHOWN_CHARS = 60
# Faults of a file in one message.
_MAX_SHOWN_FAULTS = 10


class Term(NamedTuple):
    """A line of a vocabulary file."""

    name: str
    description: str
    aliases: tuple[str, ...]
    line: int


@final
class Vocabulary:
    """The annotation of a text field whose values are the terms of a CSV file.

    For example `topic: Annotated[str, Vocabulary("topics.csv")]`. A term or alias in another case
    or form is stored as its term. Any other text is invalid.
    """

    def __init__(self, file: str) -> None:
        """Read the terms of a file.

        Args:
            file: Path of the file, relative to the file of the calling code.

        Raises:
            InputError: The file cannot be read or has faults; the message has their lines.
        """
        frame = inspect.currentframe()
        caller = frame.f_back if frame is not None else None
        caller_file = caller.f_globals.get("__file__", "") if caller is not None else ""
        # Requests contain this name, so they must not tell folders of this machine.
        self.file = Path(file).name if Path(file).is_absolute() else file
        path = Path(caller_file).parent / file
        self.path = path.resolve()
        self.terms = read_terms(path, self.file)

        self._names_by_form = {
            form: term.name for form, _, term in _iterate_folded_forms(self.terms)
        }

    def __repr__(self) -> str:
        """Return the annotation as it is written."""
        return f"Vocabulary({self.file!r})"

    def find_term(self, text: str) -> str | None:
        """Return the term that a text names, by itself or by an alias; None if there is none."""
        return self._names_by_form.get(fold_term(text))

    def __get_pydantic_core_schema__(
        self,
        source: Any,
        handler: "GetCoreSchemaHandler",
    ) -> "CoreSchema":
        """Return the schema of a text that is replaced by its term.

        Raises:
            TypeError: The type of the field is not a text.
        """
        from pydantic_core import core_schema

        schema = handler(source)
        if schema["type"] != "str":
            raise TypeError(
                "a Vocabulary belongs to a text: Annotated[str, Vocabulary(…)], "
                "and for several list[Annotated[str, Vocabulary(…)]]",
            )
        return core_schema.no_info_after_validator_function(self._find_term_or_raise, schema)

    def __get_pydantic_json_schema__(
        self,
        schema: "CoreSchema",
        handler: "GetJsonSchemaHandler",
    ) -> dict[str, Any]:
        """Return the JSON schema of the field: an enum of the terms, and the vocabulary."""
        terms = [
            {
                "name": term.name,
                "description": term.description,
                "aliases": list(term.aliases),
            }
            for term in self.terms
        ]
        return {
            **handler(schema),
            "enum": [term.name for term in self.terms],
            VOCABULARY: {"file": self.file, "path": str(self.path), "terms": terms},
        }

    def _find_term_or_raise(self, text: str) -> str:
        """Return the term that a text names.

        Raises:
            PydanticCustomError: The text is neither a term nor an alias.
        """
        from pydantic_core import PydanticCustomError
        from rapidfuzz import fuzz

        term = self.find_term(text)
        if term is not None:
            return term

        folded_text = fold_term(text)
        nearest_form = max(self._names_by_form, key=lambda form: fuzz.ratio(folded_text, form))
        raise PydanticCustomError(
            "vocabulary",
            "{value} is not a term of {file}; the nearest is {nearest}",
            {
                "value": repr(text[:_MAX_SHOWN_CHARS]),
                "file": self.file,
                "nearest": repr(self._names_by_form[nearest_form]),
            },
        )


def fold_term(text: str) -> str:
    """Return a text in the form in which terms and aliases are compared."""
    return FoldedText(text).text


def _iterate_folded_forms(terms: Sequence[Term]) -> Iterator[tuple[str, str, Term]]:
    """Yield (folded form, text, term) of each name and alias."""
    for term in terms:
        for text in (term.name, *term.aliases):
            yield fold_term(text), text, term


# ---- reading a file


def read_terms(path: Path, label: str) -> tuple[Term, ...]:
    """Read and check a vocabulary file, and return its terms in its order.

    Args:
        label: Name of the file in messages.

    Raises:
        InputError: The file cannot be read, is not in UTF-8 or is malformed, has no header, no
            terms or more than MAX_OPTIONS terms, or repeats terms. The message has a line for each
            of the first repeated terms.
    """
    try:
        # A folder before `..` need not exist yet, such as that of a task's file.
        text = path.resolve().read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(
            f"the vocabulary {path} does not exist",
            hint=f"{make_path_hint(path)}, which is relative to the task's file",
        ) from error
    except OSError as error:
        raise InputError(f"the vocabulary {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{label} is not in UTF-8", hint=f"save {path} as UTF-8") from error

    terms = tuple(_parse_terms(text, label))
    if not terms:
        raise InputError(f"{label} has no terms", hint="write a term on each line")

    faults = list(_find_repeated_terms(terms))
    if faults:
        shown_faults = "\n".join(f"{label}{fault}" for fault in faults[:_MAX_SHOWN_FAULTS])
        raise InputError(shown_faults, hint=f"correct {path}")
    if len(terms) > MAX_OPTIONS:
        raise InputError(
            f"{label} has {len(terms)} terms; at most {MAX_OPTIONS} are possible",
            hint=f"shorten {path}",
        )
    return terms


def _parse_terms(text: str, label: str) -> list[Term]:
    """Return the terms of a CSV text, one per line, in its order.

    The delimiter is the most frequent of comma, semicolon and tab in the header. Blank lines are
    skipped.

    Raises:
        InputError: There is no header, or a line is malformed.
    """
    header_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=header_line.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = [name.strip().casefold() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    if "term" not in columns:
        raise InputError(
            f"{label}, line 1: the header has no column 'term'",
            hint=f"begin the file with the line {','.join(COLUMNS)}",
        )

    terms = []
    try:
        for row in reader:
            term = _parse_term_line(row, reader.line_num, label)
            if term is not None:
                terms.append(term)
    except csv.Error as error:
        raise InputError(f"{label}, line {reader.line_num}: {error}") from error
    return terms


def _parse_term_line(row: Mapping[str | None, Any], line: int, label: str) -> Term | None:
    """Return the term of a line, or None for a line of blanks.

    The aliases in a cell are separated by a bar or a semicolon.

    Raises:
        InputError: The line has more cells than the header, or no term.
    """
    if None in row:
        raise InputError(
            f"{label}, line {line}: there are more cells than columns",
            hint="write a cell with a comma between quotation marks",
        )

    cells = {name: " ".join((cell or "").split()) for name, cell in row.items()}
    if not any(cells.values()):
        return None
    if not fold_term(cells["term"]):
        raise InputError(f"{label}, line {line}: the term is missing", hint="fill column 'term'")
    aliases = [alias.strip() for alias in cells.get("aliases", "").replace(";", "|").split("|")]
    return Term(
        cells["term"],
        cells.get("description", ""),
        tuple(alias for alias in aliases if fold_term(alias)),
        line,
    )


def _find_repeated_terms(terms: Sequence[Term]) -> Iterator[str]:
    """Yield ", line N: …" for each term or alias that an earlier line has, too.

    The caller writes the name of the file before it. Terms and aliases are compared in their
    folded form.
    """
    terms_by_form = dict[str, Term]()
    for form, text, term in _iterate_folded_forms(terms):
        owner = terms_by_form.setdefault(form, term)
        if owner is not term:
            yield f", line {term.line}: {text!r} is on line {owner.line} already"


# ---- the vocabulary in the JSON schema of an answer


def describe_terms(file: str, terms: Sequence[Mapping[str, Any]]) -> str:
    """Return the terms of a vocabulary as text for a model, a line for each term.

    The first line names the file. A term is `- term: description; also: aliases`.
    """
    lines = [f"Terms of {file}, each to be copied as it is:"]
    lines += [
        f"- {': '.join(filter(None, (term['name'], describe_meaning(term))))}" for term in terms
    ]
    return "\n".join(lines)


def describe_meaning(term: Mapping[str, Any]) -> str:
    """Return the description and the aliases of a term as text; "" if it has neither.

    The text has no brackets of its own, because a question puts it between brackets.
    """
    aliases = f"also: {', '.join(term['aliases'])}" if term["aliases"] else ""
    return "; ".join(filter(None, (term["description"], aliases)))


# Each vocabulary of an answer in the JSON schema, by file. It has `file`, `path` and `terms`.
Vocabularies = dict[str, Mapping[str, Any]]


def separate_vocabularies(schema: Any) -> tuple[Any, Vocabularies]:
    """Return a copy of a JSON schema without the terms, and its vocabularies by file name.

    In the copy, a node with a vocabulary has only the name of the file, and no `enum`.
    """
    if isinstance(schema, list):
        members, vocabularies = separate_vocabularies(dict(enumerate(schema)))
        return list(members.values()), vocabularies
    if not isinstance(schema, dict):
        return schema, {}
    if VOCABULARY in schema:
        vocabulary = schema[VOCABULARY]
        node = {name: member for name, member in schema.items() if name != "enum"}
        return {**node, VOCABULARY: vocabulary["file"]}, {vocabulary["file"]: vocabulary}

    node = {}
    vocabularies = Vocabularies()
    for name, member in schema.items():
        node[name], member_vocabularies = separate_vocabularies(member)
        vocabularies |= member_vocabularies
    return node, vocabularies
