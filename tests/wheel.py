"""Build the wheel, install it into a fresh environment, and use it there from an empty folder.

`make check` runs this. The environment borrows the libraries of this one, so nothing but the build
backend is downloaded. Time zones come from the package tzdata.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
SOURCES = ("askrows.py", "pyproject.toml", "README.md", "LICENSE", "data/sample")
PACKAGES = ("jobs", "pipeline", "emulator", "web")
LETTERS = "number,letter\n1,The boat left early and I am angry.\n2,Thank you for the warm soup.\n"
MAX_COMMAND_S = 300


def main() -> None:
    """Build, install and use the wheel; exit with the output of the first command that fails."""
    with TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        python = _install_wheel(folder)
        home = folder / "home"
        home.mkdir()
        (home / "letters.csv").write_text(LETTERS)

        askrows = str(python.with_name("askrows"))
        _run([askrows, "demo"], home)
        _run([askrows, "ask", "letters.csv", "In what tone?", "--yes"], home)
        _run([str(python), "-m", "askrows", "status"], home)


def _install_wheel(folder: Path) -> Path:
    """Install a wheel of the working copy into a new environment, and return its Python."""
    source = folder / "source"
    for name in (*SOURCES, *PACKAGES):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)

    environment = folder / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = environment / "lib" / version / "site-packages"
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))

    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)], folder)
    (wheel,) = folder.glob("*.whl")
    _run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], folder)
    return python


def _run(command: list[str], folder: Path) -> None:
    """Run a command in a folder without askrows' variables, and exit if it fails."""
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
    if process.returncode:
        output = f"{process.stdout}{process.stderr}"
        sys.exit(f"{output}\n{' '.join(command)} exited with {process.returncode}")


if __name__ == "__main__":
    main()
