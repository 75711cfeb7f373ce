"""A workspace of the version before opens, migrates and goes on to the end: nothing is lost, none is asked twice."""

import pytest

from emulator.server import start
from tests.lab import Api, Workspace
from tests.yardstick.going_on import (
    CHAIN,
    PASSAGES,
    check_accounts,
    check_asked_once,
    check_healthy,
    document,
    end_probes,
    go_on_with_passages,
    go_on_with_people,
    run,
)

PEOPLE, SILENT, ADDED, TEXTS = 51, 1, 1, 32  # who are in the fixture


@pytest.mark.sampled(0)
def test_it_opens_and_nothing_contradicts_what_is_stored(before: Workspace) -> None:
    """Every state is there, `status` and `doctor` work for both subjects, and all that is stored fits together."""
    run(before, "status")
    states = {row[0] for row in before.query("SELECT DISTINCT state FROM findable_batches")}
    assert states == {"prepared", "submitting", "submitted", "downloaded", "ingested", "failed"}
    check_healthy(before)
    people, passages = document(before, "status"), document(before, "status", **PASSAGES)
    assert people["experts"]["total"] == PEOPLE + ADDED
    assert passages["passages"]["total"] == TEXTS
    assert (passages["rolling_back"], passages["backfill"]["items"]) == (["old@1/gemini-3.5-flash-lite"], 8)
    check_accounts(before)


@pytest.mark.sampled(0)
def test_all_comes_to_the_end_and_is_asked_once(before: Workspace, api: Api) -> None:
    """All that was begun is ended: each person with a bio is tagged and in the index, every passage has its concepts.

    The rollback is ended, and the pilot passes; rows, files and the API tell of the same questions, each asked once.
    """
    go_on_with_people(before)
    status = document(before, "status")
    assert {name: count for name, count in status["experts"].items() if count} == {
        "total": PEOPLE + ADDED,
        "tagged": PEOPLE + ADDED - SILENT,
        "no_bio": SILENT,
    }
    assert (status["index"]["count"], status["index"]["behind"]) == (PEOPLE + ADDED - SILENT, 0)
    go_on_with_passages(before)
    status = document(before, "status", **PASSAGES)
    counts = {name: count for name, count in status["passages"].items() if count}
    assert (counts, status["backfill"]) == ({"total": TEXTS, "with_concepts": TEXTS}, None)
    check_healthy(before)
    check_accounts(before)
    check_asked_once(before, api)


@pytest.mark.full
def test_the_local_engine_goes_on(local: Workspace) -> None:
    """What the engine inside the workspace had in hand comes home, and every person is tagged."""
    end_probes(local)
    for words in (*CHAIN, *CHAIN):
        run(local, words)
    run(local, "index")
    status = document(local, "status")
    assert status["experts"]["tagged"] == status["experts"]["total"] == status["index"]["count"] == 8
    check_healthy(local)
    check_accounts(local)
    with start(local.data) as server:
        check_asked_once(local, Api(server))
