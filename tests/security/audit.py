"""Run `make audit`: search known vulnerabilities of all locked dependencies.

pip-audit succeeds if its feed knows no package, for example at a mirror without a feed. This
program fails in that case.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = [
    Path(__file__).parents[2] / name for name in ("requirements.lock", "requirements-dev.lock")
]
EMPTY_FEED_MESSAGE = (
    "the feed of known vulnerabilities cannot be read from here: nothing was looked up"
)


def main(program: str) -> int:
    """Run pip-audit on the lock files; return 0 if all packages were checked and are clean."""
    lock_options: list[str] = []
    for lock in LOCKS:
        lock_options += ["--requirement", str(lock)]

    command = [
        program,
        *lock_options,
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
        print(process.stderr.strip()[-2000:], EMPTY_FEED_MESSAGE, sep="\n", file=sys.stderr)  # noqa: T201
        return 1
    report, exit_code = verdict(dependencies)
    print(report, file=sys.stderr if exit_code else sys.stdout)
    return exit_code


def verdict(dependencies: list[dict[str, Any]]) -> tuple[str, int]:
    """Return a report on pip-audit's list of dependencies, and the exit code."""
    skipped = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    vulnerabilities: list[str] = []
    for dependency in dependencies:
        name = f"{dependency['name']} {dependency['version']}"
        for flaw in dependency.get("vulns", ()):
            versions = ", ".join(flaw["fix_versions"]) or "no version yet"
            vulnerabilities.append(f"{name}: {flaw['id']}, mended in {versions}")

    if len(skipped) == len(dependencies):
        return EMPTY_FEED_MESSAGE, 1
    lines = [
        *vulnerabilities,
        (
            f"{len(dependencies) - len(skipped)} dependencies looked up, "
            f"{len(vulnerabilities)} known vulnerabilities"
        ),
    ]
    if skipped:
        lines.append(f"not looked up, for the feed does not know them: {', '.join(skipped)}")
    return "\n".join(lines), 1 if vulnerabilities or skipped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
