"""The whole chain against a second server that speaks the protocol in its own manner."""

import json
from pathlib import Path

import pytest

from tests import ledger
from tests.delivery import workspace_at
from tests.integration.other_server import Manner, serving

PEOPLE = """Username,First Name,Last Name,Job Title,Company,Bio
ann,Ann,Alder,Keeper,Hive & Co,"Beekeeping, pollination and honey since 1990."
bob,Bob,Birch,Lawyer,,"Irrigation treaties and groundwater litigation."
cyd,Cyd,Cedar,,,"Restores harpsichords; tuning, woodworking, varnish."
dan,Dan,Dogwood,Painter,,
"""

MANNERS = {
    "as captured": Manner(),
    "SDK's words, numbers, key first": Manner(states="JOB_STATE_", stats="numbers", key_first=True),
    "no statistics, result in the response": Manner(
        stats="none", output="response", sha256=False, state=False, line_end="\r\n"
    ),
    "over at the first look": Manner(runs_for=0, line_end="\n\n"),
}


@pytest.mark.sampled(4, sqlite=4)
@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
def test_the_chain_runs_on_any_server_that_speaks_the_protocol(tmp_path: Path, manner: Manner) -> None:
    """Import, submit, poll, ingest, index, search and add-expert work with nothing changed but the base URL."""
    with serving(manner) as other:
        workspace = workspace_at(tmp_path / "data")
        workspace.environ |= {
            "GOOGLE_GEMINI_BASE_URL": other.url,
            "GEMINI_API_KEY": "made-up",
            "FINDABLE_POLL_FIRST": "0.01",
        }
        file = tmp_path / "people.csv"
        file.write_text(PEOPLE, encoding="utf-8")
        for command in (["import", str(file)], ["batch-submit"], ["batch-poll"], ["batch-ingest"], ["index"]):
            workspace.ran(*command)
        ledger.check(workspace)
        assert ledger.people(workspace) == {"total": 4, "tagged": 3, "no_bio": 1}
        assert "pollination" in workspace.scalar("SELECT tags FROM experts WHERE username = 'ann'")
        hits = json.loads(workspace.run("search", "groundwater litigation", "--json").stdout)
        assert hits[0]["username"] == "bob"
        new = tmp_path / "new.json"
        new.write_text(json.dumps({"username": "eve", "bio": "Glaciology and mountaineering."}), encoding="utf-8")
        workspace.ran("add-expert", str(new))
        assert "mountaineering" in workspace.scalar("SELECT tags FROM experts WHERE username = 'eve'")
        assert len([call for call in other.calls if "batchGenerateContent" in call]) == 1
        assert other.files == {}, "the upload is deleted when it is not needed any more"
        assert len(other.batches) == 1
