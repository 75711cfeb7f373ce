"""The faults of `faults.toml`, which `make mutants` plants in a copy of the product."""

import tomllib
from pathlib import Path
from typing import NamedTuple

TEST_FOLDER = Path(__file__).parent
ROOT = TEST_FOLDER.parents[1]
LIST = TEST_FOLDER / "faults.toml"


class Fault(NamedTuple):
    """A fault: `after` replaces the text `before` of `file`, and `test` finds it."""

    name: str
    # The promise of askrows that the fault breaks.
    promise: str
    # The effect of the fault.
    breaks: str
    file: str
    before: str
    after: str
    # The name of a case, as pytest writes it, in this folder.
    test: str

    def plant(self, folder: Path) -> str:
        """Return the text of the file in a folder with the fault in it.

        Raises:
            ValueError: `before` is not in the file exactly once.
        """
        text = (folder / self.file).read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise ValueError(f"{self.name}: {self.file} does not have its text once: {self.before}")
        return text.replace(self.before, self.after)


def read_faults() -> list[Fault]:
    """Return every fault of the list, in its order."""
    return [Fault(**row) for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["fault"]]


def list_tests() -> list[str]:
    """Return the paths of the tests that find the faults, each once."""
    return [str(TEST_FOLDER / test) for test in dict.fromkeys(row.test for row in read_faults())]
