"""Read the one-line faults of `faults.toml`, and plant a fault in a copy of the product."""

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("faults.toml")
# A module that records each marked line once for each folder in which a process runs it.
MARKS = """
import os
recorded_marks = set()
def mark(name):
    folder = os.getcwd()
    if (name, folder) not in recorded_marks:
        recorded_marks.add((name, folder))
        file = os.open({!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{{name}}\\t{{folder}}\\n".encode())
        os.close(file)
"""


class Fault(NamedTuple):
    """A fault: `after` replaces the statement (or its first line) `before` in `file`."""

    name: str
    # The promise of findable that the fault breaks.
    promise: str
    # The effect of the fault.
    breaks: str
    file: str
    # Code without its layout.
    before: str
    after: str
    # Why no acceptance test can see the fault; empty if a test can.
    survives: str = ""

    @property
    def line(self) -> str:
        """Return the name of its line, which several faults may share."""
        return f"{self.file}: {self.before}"


def read_faults() -> list[Fault]:
    """Return every fault of the list, in its order."""
    return [Fault(**row) for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["fault"]]


def find_lines(fault: Fault, lines: list[str]) -> range:
    """Return the indices of the lines of its file that a fault replaces.

    `before` may be formatted over several lines there, so spaces and line ends are ignored, and
    commas before a closing bracket too.

    Raises:
        ValueError: `before` is not in the file exactly once.
    """
    code = _without_layout(fault.before)
    texts = [_without_layout(line) for line in lines]
    matches = []
    for first, text in enumerate(texts):
        joined = text
        last = first
        while joined and joined != code and code.startswith(joined.rstrip(",")):
            last += 1
            if last == len(texts):
                break
            joined = _without_layout(joined + texts[last])
        if joined == code:
            matches.append(range(first, last + 1))

    if len(matches) != 1:
        raise ValueError(f"found {len(matches)} times in {fault.file}: {fault.before}")
    return matches[0]


def _without_layout(code: str) -> str:
    """Return code without white space, and without commas before a closing bracket."""
    return re.sub(r",(?=[)\]}])", "", re.sub(r"\s+", "", code))


def plant_fault(fault: Fault, text: str) -> str:
    """Return the text of a file with the fault in it.

    Raises:
        ValueError: `before` is not in the file exactly once.
    """
    lines = text.splitlines(keepends=True)
    replaced = find_lines(fault, lines)
    first_line = lines[replaced.start]
    indentation = first_line[: len(first_line) - len(first_line.lstrip())]
    lines[replaced.start : replaced.stop] = [f"{indentation}{fault.after}\n"]
    return "".join(lines)


def find_obstacle(fault: Fault) -> str:
    """Return why a fault cannot be planted in this checkout; empty if it can be planted."""
    try:
        find_lines(fault, (ROOT / fault.file).read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def mark_lines(text: str, names: Mapping[int, str]) -> str:
    """Return a module that records the name of a line before it runs the statement of the line.

    Args:
        names: The name of each marked line by its index, from 0.
    """
    tree = ast.parse(text)
    blocks = list(_find_blocks(tree))
    for line_index, name in names.items():
        block, statement = _find_innermost(blocks, line_index + 1)
        mark = ast.parse(f"__import__('_marks').mark({name!r})").body[0]
        block.insert(block.index(statement), mark)
    return ast.unparse(tree)


def _find_blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Yield each list of statements of a module."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield block


def _find_innermost(
    blocks: Sequence[list[ast.stmt]], line_number: int
) -> tuple[list[ast.stmt], ast.stmt]:
    """Return the statement around a line that begins last, after its block."""
    candidates: list[tuple[list[ast.stmt], ast.stmt]] = []
    for block in blocks:
        candidates += [
            (block, statement)
            for statement in block
            if statement.lineno <= line_number <= (statement.end_lineno or 0)
        ]
    return max(candidates, key=lambda candidate: candidate[1].lineno)


def copy_product(folder: Path) -> Path:
    """Copy the tracked files of this checkout, without its tests, to a new folder; return it."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in names.split("\0"):
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def write_module(path: Path, text: str) -> None:
    """Write a module, and remove its compiled files."""
    path.write_text(text, encoding="utf-8")
    for compiled_file in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled_file.unlink()


def mark_all(copy: Path, faults: list[Fault], notes: Path) -> None:
    """Make a copy of the product record each line of a fault that it runs, with the folder."""
    (copy / "_marks.py").write_text(MARKS.format(str(notes)), encoding="utf-8")
    for file in {fault.file for fault in faults}:
        text = (copy / file).read_text(encoding="utf-8")
        names = {
            find_lines(fault, text.splitlines(keepends=True)).start: fault.line
            for fault in faults
            if fault.file == file
        }
        write_module(copy / file, mark_lines(text, names))
