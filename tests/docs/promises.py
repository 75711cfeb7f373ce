"""Return the tables of docs/reliability.md, for cog."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARK = re.compile(r'\bpytest\.mark\.promise\(\s*"([a-z]+)"')
MAX_MARKS = 3


def read_tests() -> dict[str, str]:
    """Return the test files of each promise by its key.

    Raises:
        ValueError: A promise has no mark or too many, or a mark has an unknown key.
    """
    files: dict[str, list[str]] = {key: [] for rows in read_rows().values() for key in rows}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for key in MARK.findall(path.read_text(encoding="utf-8")):
            if key not in files:
                raise ValueError(f"{path.name} has a mark for {key!r}, which is no promise")
            files[key].append(f"`{path.name}`")

    for key, names in files.items():
        if not 1 <= len(names) <= MAX_MARKS:
            raise ValueError(f"the promise {key!r} has {len(names)} marks, not 1 to {MAX_MARKS}")
    return {key: ", ".join(dict.fromkeys(names)) for key, names in files.items()}


def read_rows() -> dict[str, dict[str, object]]:
    """Return the rows of both tables by their keys."""
    return tomllib.loads((ROOT / "tests" / "promises.toml").read_text(encoding="utf-8"))


def promises() -> str:
    """Return the table of promises with the files that test them."""
    tests = read_tests()
    lines = [f"| {text} | {tests[key]} |" for key, text in read_rows()["promises"].items()]
    return "\n".join(["| promise | tests |", "| --- | --- |", *lines])


def security() -> str:
    """Return the table of untrusted inputs with the files that test their protection."""
    tests = read_tests()
    lines = []
    for key, row in read_rows()["security"].items():
        assert isinstance(row, dict)
        lines.append(f"| {' | '.join(row.values())} | {tests[key]} |")
    heading = "| source | untrusted input | protection | test |"
    return "\n".join([heading, "| --- | --- | --- | --- |", *lines])
