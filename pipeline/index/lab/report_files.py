"""Put the report of a run into a folder of the user's: Markdown, document, pictures, and each variant's run."""

import json
import re
from pathlib import Path

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.index.lab.report import lab_document, lab_markdown, lab_pictures, run_lines
from pipeline.index.lab.run import LabReport


def write_lab_report(folder: Path, report: LabReport, *, task: str) -> Path:
    """Write every file whole, the Markdown last, and return its path; files of those names are replaced.

    Raises:
        InputError: there is a file where the folder is to be.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder; nothing was written", hint="name another one")
    pictures = {f"lab-{number}.svg": one.encode() for number, one in enumerate(lab_pictures(report), start=1)}
    runs = {f"lab-{_slug(name)}.run": b"".join(run_lines(report, name)) for name in report.variants}
    document = json.dumps(lab_document(report), ensure_ascii=False, indent=1).encode("utf-8", "replace")
    text = lab_markdown(report, task=task, pictures=list(pictures)).encode("utf-8", "replace")
    for name, data in {**pictures, **runs, "lab.json": document + b"\n", "lab.md": text}.items():
        files.seal_bytes(files.target_of(folder / name), data)
    return folder / "lab.md"


def _slug(name: str) -> str:
    """Return a variant's name as a part of a file's."""
    return re.sub(r"[^\w.-]+", "-", name)
