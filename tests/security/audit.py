"""Run `make audit`: search known vulnerabilities of all locked dependencies.

pip-audit succeeds if its feed knows no package, for example at a mirror without a feed. This
program fails in that case.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-dev.lock")
OPTIONS = ("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off")


def main(program: str) -> int:
    """Run pip-audit on the lock files; return 0 if all packages were checked and are clean."""
    lock_options = [f"--requirement={lock}" for lock in LOCKS]
    command = [program, *lock_options, *OPTIONS]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    # Without a feed, pip-audit may print nothing.
    document = json.loads(process.stdout or '{"dependencies": []}')

    lines: list[str] = []
    for dependency in document["dependencies"]:
        if "skip_reason" in dependency:
            lines.append(f"{dependency['name']}: the feed does not know this package")
        for flaw in dependency.get("vulns", ()):
            versions = ", ".join(flaw["fix_versions"]) or "no version yet"
            lines.append(f"{dependency['name']}: {flaw['id']}, mended in {versions}")

    if not document["dependencies"]:
        lines.append("the feed of known vulnerabilities cannot be read from here")
    sys.stdout.write("".join(f"{line}\n" for line in lines) or "no known vulnerability\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
