"""One-line faults on what findable promises, as `faults.toml` lists them, and how one is put into a copy of it."""

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("faults.toml")
MARKS = """
import os
told = set()
def mark(name):
    here = os.getcwd()
    if (name, here) not in told:
        told.add((name, here))
        file = os.open({!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{{name}}\\t{{here}}\\n".encode())
        os.close(file)
"""


class Fault(NamedTuple):
    """One fault: the statement (or its first line) `before` in `file` becomes `after`, without layout.

    It breaks `promise`, by what `breaks` says; `survives` is empty, or says why no acceptance test can see it.
    """

    name: str
    promise: str
    breaks: str
    file: str
    before: str
    after: str
    survives: str = ""

    @property
    def line(self) -> str:
        """Return what names its line, which may have several faults."""
        return f"{self.file}: {self.before}"


def listed() -> list[Fault]:
    """Return every fault of the list, in its order."""
    return [Fault(**row) for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["fault"]]


def find_lines(fault: Fault, lines: list[str]) -> range:
    """Return the indices of the lines of its file that a fault replaces.

    `before` may be formatted over several lines there, so spaces and line ends are ignored, and
    commas before a closing bracket too.

    Raises:
        ValueError: `before` is not in the file exactly once.
    """
    wanted = _without_layout(fault.before)
    texts = [_without_layout(line) for line in lines]
    matches = []
    for first, text in enumerate(texts):
        joined = text
        last = first
        while joined and joined != wanted and wanted.startswith(joined.rstrip(",")):
            last += 1
            if last == len(texts):
                break
            joined = _without_layout(joined + texts[last])
        if joined == wanted:
            matches.append(range(first, last + 1))

    if len(matches) != 1:
        raise ValueError(f"found {len(matches)} times in {fault.file}: {fault.before}")
    return matches[0]


def _without_layout(code: str) -> str:
    """Return code without white space, and without commas before a closing bracket."""
    return re.sub(r",(?=[)\]}])", "", re.sub(r"\s+", "", code))


def planted(fault: Fault, text: str) -> str:
    """Return the text of its file with a fault in it.

    Raises:
        ValueError: `before` is not in the file exactly once.
    """
    lines = text.splitlines(keepends=True)
    replaced = find_lines(fault, lines)
    first_line = lines[replaced.start]
    indentation = first_line[: len(first_line) - len(first_line.lstrip())]
    lines[replaced.start : replaced.stop] = [f"{indentation}{fault.after}\n"]
    return "".join(lines)


def lost(fault: Fault) -> str:
    """Return why a fault cannot be planted in this checkout; an empty text where it can."""
    try:
        find_lines(fault, (ROOT / fault.file).read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def marked(text: str, names: Mapping[int, str]) -> str:
    """Return a module that tells the name of a line (from 0) each time before it runs the statement around it."""
    tree = ast.parse(text)
    blocks = [
        block
        for node in ast.walk(tree)
        for field in ("body", "orelse", "finalbody")
        if isinstance(block := getattr(node, field, None), list)
    ]
    for line, name in names.items():
        within = [
            (one.lineno, block, one)
            for block in blocks
            for one in block
            if one.lineno <= line + 1 <= (one.end_lineno or 0)
        ]
        _, block, statement = max(within, key=lambda row: row[0])
        block.insert(
            block.index(statement), ast.parse(f"__import__('_marks').mark({name!r})").body[0]
        )
    return ast.unparse(tree)


def copied(folder: Path) -> Path:
    """Copy what is tracked of this checkout, without its tests, into a new folder, and return it."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in names.split("\0"):
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def write(path: Path, text: str) -> None:
    """Write a module anew, and forget what was compiled of it."""
    path.write_text(text, encoding="utf-8")
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        stale.unlink()


def mark_all(copy: Path, faults: list[Fault], notes: Path) -> None:
    """Let a copy write down, whenever it comes to the line of one of these faults, which, and where that was."""
    (copy / "_marks.py").write_text(MARKS.format(str(notes)), encoding="utf-8")
    for file in {one.file for one in faults}:
        text = (copy / file).read_text(encoding="utf-8")
        names = {
            find_lines(one, text.splitlines(keepends=True)).start: one.line
            for one in faults
            if one.file == file
        }
        write(copy / file, marked(text, names))
