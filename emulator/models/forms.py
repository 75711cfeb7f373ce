"""What the domains of the vocabulary are called in other languages, as `forms-*.tsv` have it: a form a line."""

import csv
from collections.abc import Iterator
from importlib.resources import files

_LATIN = ("de", "es", "fr", "it", "pt")
_OWN_SCRIPT = ("ja", "ru", "zh")


def in_latin() -> dict[str, str]:
    """Return the forms of languages in Latin script, and their domains; of one form in two languages the first."""
    found: dict[str, str] = {}
    for form, name in _rows(_LATIN):
        found.setdefault(form, name)
    return found


def in_own_scripts() -> dict[str, list[str]]:
    """Return the domains, and their forms in languages whose script says that a word is no English one."""
    found: dict[str, list[str]] = {}
    for form, name in _rows(_OWN_SCRIPT):
        found.setdefault(name, []).append(form)
    return found


def _rows(languages: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield the forms of some languages with their domains."""
    for language in languages:
        text = files("emulator.models").joinpath(f"forms-{language}.tsv").read_text(encoding="utf-8")
        yield from csv.reader((line for line in text.splitlines() if not line.startswith("#")), delimiter="\t")
