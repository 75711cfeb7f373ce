"""No locked dependency has a known vulnerability; `make audit` runs this.

pip-audit succeeds if its feed knows no package, for example at a mirror without a feed. This test
fails in that case.
"""

import json
import os
import subprocess

import pytest

from tests.lab import ROOT

# The path of the program.
PIP_AUDIT = os.environ.get("PIP_AUDIT", "")
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-dev.lock")
OPTIONS = ("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off")


@pytest.mark.skipif(not PIP_AUDIT, reason="`make audit` looks up all locked packages")
def test_no_locked_package_has_a_known_vulnerability() -> None:
    """The feed knows every package of the lock files, and no vulnerability of its version."""
    lock_options = [f"--requirement={lock}" for lock in LOCKS]
    command = [PIP_AUDIT, *lock_options, *OPTIONS]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    # Without a feed, pip-audit may print nothing.
    document = json.loads(process.stdout or '{"dependencies": []}')
    assert document["dependencies"], "the feed of known vulnerabilities cannot be read from here"

    lines: list[str] = []
    for dependency in document["dependencies"]:
        if "skip_reason" in dependency:
            lines.append(f"{dependency['name']}: the feed does not know this package")
        for flaw in dependency.get("vulns", ()):
            versions = ", ".join(flaw["fix_versions"]) or "no version yet"
            lines.append(f"{dependency['name']}: {flaw['id']}, mended in {versions}")
    assert lines == []
