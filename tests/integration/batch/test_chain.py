"""The whole chain on the gemini backend, against the emulator."""

import json

import orjson

from pipeline.core import files
from pipeline.experts import table
from tests.lab import Api, Workspace

SUBJECTS = ("beekeeping", "water law", "chess", "carpentry", "astronomy", "oncology", "poetry", "welding")


def test_the_chain_tags_scores_indexes_and_finds(workspace: Workspace, api: Api) -> None:
    """People with a bio are tagged by one batch whose answers join them by key alone, indexed, and found again."""
    with workspace.open() as ws, ws.store.write() as tx:
        for subject in SUBJECTS:
            table.insert_person(tx, subject, {"bio": f"I have taught {subject} for many years."})
        for name in ("silent", "quiet"):
            table.insert_person(tx, name, {})
    for command in ("batch-submit", "batch-poll", "batch-ingest", "index"):
        workspace.ran(command)
    status = json.loads(workspace.run("status", "--json").stdout)
    assert status["experts"] == {"total": 10, "tagged": 8, "untagged": 0, "no_bio": 2, "claimed": 0, "parked": 0}
    assert (status["index"]["count"], status["index"]["behind"]) == (8, 0)
    hits = json.loads(workspace.run("search", "beekeeping", "-k", "3", "--json").stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert hits[0]["username"] == "beekeeping"
    assert len(api.batches()["batches"]) == 1
    path = workspace.data / workspace.scalar("SELECT result_file FROM findable_batches")
    lines = {line["key"]: line for line in (orjson.loads(raw) for _, raw in files.read_lines(path))}
    assert [*lines] != sorted(lines), "in another order than they were asked"
    for item, answer in workspace.query("SELECT item_id, answer FROM findable_answers"):
        text = lines[f"expert-tags/{item}"]["response"]["candidates"][0]["content"]["parts"][0]["text"]
        assert json.loads(answer) == json.loads(text)
