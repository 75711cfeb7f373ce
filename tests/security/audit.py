"""`make audit`: every locked dependency looked up among known vulnerabilities, and a plain word where that cannot be.

pip-audit ends well when its feed knows none of the packages, as behind a mirror without one; here that is a failure.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = [
    Path(__file__).parents[2] / name for name in ("requirements.lock", "requirements-dev.lock")
]
NOTHING = "the feed of known vulnerabilities cannot be read from here: nothing was looked up"


def main(program: str) -> int:
    """Run pip-audit on the lock files; return 0 when all was looked up and is clean, else 1."""
    locked = [word for lock in LOCKS for word in ("--requirement", str(lock))]
    command = [
        program,
        *locked,
        "--disable-pip",
        "--require-hashes",
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(process.stdout)["dependencies"]
    except (ValueError, LookupError, TypeError):
        print(process.stderr.strip()[-2000:], NOTHING, sep="\n", file=sys.stderr)  # noqa: T201
        return 1
    said, code = verdict(dependencies)
    print(said, file=sys.stderr if code else sys.stdout)
    return code


def verdict(found: list[dict[str, Any]]) -> tuple[str, int]:
    """Return what to say of pip-audit's list of dependencies, and the exit code."""
    skipped = [one["name"] for one in found if "skip_reason" in one]
    known = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in found
        for flaw in one.get("vulns", ())
    ]
    if len(skipped) == len(found):
        return NOTHING, 1
    lines = [
        *known,
        f"{len(found) - len(skipped)} dependencies looked up, {len(known)} known vulnerabilities",
    ]
    if skipped:
        lines.append(f"not looked up, for the feed does not know them: {', '.join(skipped)}")
    return "\n".join(lines), 1 if known or skipped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
