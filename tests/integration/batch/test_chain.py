"""The whole chain on the gemini backend, against the emulator."""

import json
from collections.abc import Callable

from tests.lab import Api, Workspace


def test_the_chain_tags_scores_indexes_and_finds(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """Ten people with a bio are tagged by one batch, indexed, and found again."""
    people(10, without_bio=2)
    for command in ("batch-submit", "batch-poll", "batch-ingest", "index"):
        workspace.ran(command)
    status = json.loads(workspace.run("status", "--json").stdout)
    assert status["experts"] == {"total": 12, "tagged": 10, "untagged": 0, "no_bio": 2, "claimed": 0, "parked": 0}
    assert status["index"]["count"] == 10
    assert status["index"]["behind"] == 0
    hits = json.loads(workspace.run("search", "keeps bees", "-k", "3", "--json").stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert len(api.batches()["batches"] if isinstance(api.batches(), dict) else api.batches()) == 1
