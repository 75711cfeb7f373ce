"""One-line faults of the product and how each is put in; `mutants.toml` holds them, with the test that finds each."""

import ast
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutants.toml")


class Mutant(NamedTuple):
    """One fault: the line of `file` that is `before` becomes `after` (both without indentation); `killer` must fail."""

    name: str
    breaks: str
    file: str
    before: str
    after: str
    killer: str

    @property
    def module(self) -> str:
        """Return the dotted name of the module that is changed."""
        return self.file.removesuffix(".py").replace("/", ".")


def listed() -> list[Mutant]:
    """Return every mutant of the list, in its order."""
    return [Mutant(**row) for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]]


def mutated(mutant: Mutant, *, root: Path = ROOT) -> str:
    """Return the text of the mutant's file with its one line changed.

    Raises:
        ValueError: the file is not there, or the line does not stand in it exactly once.
    """
    path = root / mutant.file
    if not path.is_file():
        raise ValueError(f"{mutant.name}: there is no {mutant.file}")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.strip() == mutant.before]
    if len(places) != 1:
        raise ValueError(f"{mutant.name}: the line stands {len(places)} times in {mutant.file}: {mutant.before}")
    lines[places[0]] = lines[places[0]].replace(mutant.before, mutant.after)
    return "".join(lines)


def killer_is_there(mutant: Mutant, *, root: Path = ROOT) -> bool:
    """Return whether the file and the function of the test that must find the mutant exist."""
    name, _, function = mutant.killer.partition("[")[0].partition("::")
    path = root / name
    if not path.is_file():
        return False
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(one, ast.FunctionDef) and one.name == function for one in body)
