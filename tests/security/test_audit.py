"""What `make audit` makes of pip-audit's findings."""

from typing import Any

import pytest

from tests.security.audit import NOTHING, verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"], "aliases": []}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("found", "said", "code"),
    [
        ([CLEAN], "1 dependencies looked up, 0 known", 0),
        ([CLEAN, FLAWED], "b 2: CVE-1, mended in 2.1", 1),
        ([CLEAN, UNKNOWN], "not looked up, for the feed does not know them: c", 1),
        ([UNKNOWN], NOTHING, 1),
        ([], NOTHING, 1),
    ],
)
def test_only_what_was_looked_up_counts_as_clean(found: list[dict[str, Any]], said: str, code: int) -> None:
    """A flaw, or a package that nobody looked up, is told and fails; silence of the feed is no good news."""
    told, ended = verdict(found)
    assert said in told
    assert ended == code
