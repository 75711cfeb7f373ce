"""Sdist and wheel are complete, and the wheel works in a fresh environment.

`make check` and `make distributions` run this and keep both in dist/. The commands run in a folder
that has modules with the names of the product's packages, and each of these modules raises. The
environment borrows the libraries of this one, so nothing but the build backend is downloaded. Time
zones come from the package tzdata.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.lab import ROOT

DISTRIBUTIONS = os.environ.get("DISTRIBUTIONS", "")
LETTERS = "number,letter\n1,The boat left early and I am angry.\n2,Thank you for the warm soup.\n"
# Modules of a user that have the names of the product's packages.
USER_MODULES = ("pipeline.py", "jobs.py", "web/__init__.py", "emulator.py", "data.py")
# Modules of Python and of a library, which `python -m askrows` must not find in its folder.
HIDING_MODULES = ("json.py", "typing.py", "sqlalchemy.py")
# A program of a user. `mypy --strict` accepts it only if no type is Any.
PROGRAM = """\
from typing import Literal, assert_type

import askrows
from pydantic import BaseModel


class Answer(BaseModel):
    tone: Literal["friendly", "angry"]


task = askrows.Task(
    name="tones",
    answer=Answer,
    items=[{"number": 1, "letter": "The boat left early."}],
    key="number",
    prompt="In what tone is it written? {letter}",
)
ws = askrows.open("python", backend="local", quiet=True)
assert_type(ws, askrows.Workspace)
report = ws.tag(task, "live")
assert_type(report, askrows.TagReport)
for row in ws.answers(task):
    assert_type(row.answer, Answer)
    print(row.key, row.answer.tone)
try:
    frame = ws.answers(task).to_pandas()
except askrows.AskrowsError as error:
    assert_type(error.message, str)
"""
# Files of the sdist that the wheel does not need.
SDIST_FILES = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "SECURITY.md",
    "docs/tutorial.md",
    "docs/web/rows.png",
    "examples/reviews/tasks/reviews.py",
    "requirements-dev.lock",
    "tests/docs/test_wheel.py",
}
MAX_COMMAND_S = 300


@pytest.mark.skipif(not DISTRIBUTIONS, reason="`make check` builds and installs distributions")
@pytest.mark.timeout(3 * MAX_COMMAND_S)
def test_wheel_works_beside_modules_of_the_user(tmp_path: Path) -> None:
    """Commands, Python API and types work in the folder of a user with misleading modules."""
    sdist, wheel = _build_distributions(tmp_path)
    _check_files(sdist, wheel)
    python = _install_wheel(tmp_path, wheel)

    home = tmp_path / "home"
    home.mkdir()
    (home / "letters.csv").write_text(LETTERS)
    _write_raising_modules(home, USER_MODULES)
    askrows = str(python.with_name("askrows"))
    _run([askrows, "demo"], home)
    _run([askrows, "ask", "letters.csv", "In what tone?", "--name", "tones", "--yes"], home)
    _run([askrows, "export", "out.csv", "--task", "tones"], home)
    (home / "program.py").write_text(PROGRAM)
    _run([str(python), "program.py"], home)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python)]
    _run([*mypy, "program.py"], home)

    _write_raising_modules(home, HIDING_MODULES)
    _run([str(python), "-m", "askrows", "status"], home)


def _build_distributions(folder: Path) -> tuple[Path, Path]:
    """Build an sdist of the working copy and a wheel from this sdist; return their paths."""
    source = folder / "source"
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in _run(list_files, ROOT).split("\0"):
        if name and (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)

    distributions = Path(DISTRIBUTIONS)
    shutil.rmtree(distributions, ignore_errors=True)
    _run([sys.executable, "-m", "build", "--outdir", str(distributions), str(source)], folder)
    (sdist,) = distributions.glob("*.tar.gz")
    (wheel,) = distributions.glob("*.whl")
    return sdist, wheel


def _check_files(sdist: Path, wheel: Path) -> None:
    """Assert that the wheel has only our package, and that the sdist has all files and no links."""
    packages = {PurePosixPath(name).parts[0] for name in zipfile.ZipFile(wheel).namelist()}
    packages = {name for name in packages if not name.endswith(".dist-info")}
    assert packages == {"askrows"}

    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members}
    links = [member.name for member in members if not (member.isfile() or member.isdir())]
    second_copies = [name for name in names if name.startswith(("pipeline", "jobs", "data"))]
    assert [*links, *second_copies] == []
    assert SDIST_FILES - names == set()


def _install_wheel(folder: Path, wheel: Path) -> Path:
    """Install a wheel into a new environment, and return the Python of this environment."""
    environment = folder / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = environment / "lib" / version / "site-packages"
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))

    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], folder)
    return python


def _write_raising_modules(folder: Path, names: tuple[str, ...]) -> None:
    """Write modules that raise an error when they are imported."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"raise RuntimeError('{name} was imported')\n")


def _run(command: list[str], folder: Path) -> str:
    """Run a command without askrows' variables, and return its output."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ASKROWS_", "GEMINI_", "GOOGLE_", "MAKE", "PYTHONPATH"))
    }
    environ["PYTHONTZPATH"] = ""
    process = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=MAX_COMMAND_S,
    )
    assert process.returncode == 0, f"{command}: {process.stdout}{process.stderr}"
    return process.stdout
