"""A subject that the engine has never heard of, run through the same steps as people."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pipeline.batch import ingest, poll, submit
from pipeline.core.errors import InputError
from pipeline.core.task import Subject
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build as index_build
from pipeline.index import embed, staleness
from pipeline.index.builds import Builds
from pipeline.live import tag
from pipeline.store import answers
from tests.integration.toy import POEMS_TASK, PoemsCollection, poems
from tests.lab import Api, Workspace

POEMS = {
    "b/1": "Beekeeping songs of the valley, sung by beekeepers.",
    "a 2": "Law of rivers, and of the water law of the sea.",
    "ü": "Gardening, and gardening again, in botany.",
    "d": "An ode to machine learning.",
}


@pytest.fixture
def toy(workspace: Workspace) -> Iterator[OpenWorkspace]:
    """An open workspace whose task and collection are those of the poems, with none written yet."""
    with workspace.open() as ws:
        task, collection = POEMS_TASK, PoemsCollection()
        toy = replace(ws, task=task, subjects=(Subject("poems", task, collection),))
        with toy.store.write() as tx:
            poems.create(tx)
        try:
            yield toy
        finally:
            toy.close()


def _write_poems(toy: OpenWorkspace) -> None:
    """Put the poems into their table."""
    with toy.store.write() as tx:
        tx.execute(poems.insert(), [{"code": code, "text": text} for code, text in POEMS.items()])


def _languages(toy: OpenWorkspace) -> dict[str, str | None]:
    """Return what the table holds."""
    with toy.store.read() as tx:
        return {row.code: row.languages for row in tx.execute(poems.select())}


def _asked(toy: OpenWorkspace) -> submit.SubmitReport:
    """Submit, poll and ingest once."""
    report = submit.run(toy, limit=None, dry=False, announce=lambda _plan: None, confirm=lambda _plan: True)
    poll.run(toy, wait=True)
    return report


def test_another_subject_runs_through_the_same_steps(toy: OpenWorkspace, api: Api) -> None:
    """Poems are submitted, polled, ingested, indexed and found by steps that know nothing of them."""
    _write_poems(toy)
    assert len(_asked(toy).submitted) == 1
    (account,) = ingest.run(toy)
    assert (account.batch.answered, account.batch.requests, account.batch.task) == (4, 4, "toy-languages")
    assert account.batch.extractor.startswith("toy-languages@3/")
    found = _languages(toy)
    assert all(json.loads(languages or "") for languages in found.values())
    with toy.store.read() as tx:
        (answer,), _ = answers.of_item(tx, "toy-languages", "b/1")
    assert json.loads(answer["answer"])["languages"] == json.loads(found["b/1"] or "")
    report = index_build.run(toy)
    assert (report.count, report.embedded) == (4, 4)
    with Builds(toy.data, toy.collection.folder).open() as build:
        (hit,) = build.search(embed.embed_queries(toy, ["the law of rivers"])[0], 1)
        assert hit.metadata["id"] == "a 2"
        with toy.store.read() as tx:
            assert staleness.count_stale(toy.collection, tx, build, toy.display) == 0
    assert len(api.batches()) == 1


def test_what_fails_is_asked_again_and_named_as_the_subject_names_it(toy: OpenWorkspace, api: Api) -> None:
    """One line that is refused is charged to its poem, told by the poem's name, and asked once more, live."""
    with pytest.raises(InputError) as caught:
        submit.run(toy, limit=None, dry=False, announce=lambda _plan: None, confirm=lambda _plan: True)
    assert caught.value.hint == "write a poem"
    _write_poems(toy)
    api.fault("safety", key="toy-languages/b/1")
    _asked(toy)
    (account,) = ingest.run(toy)
    assert (account.batch.answered, account.batch.refused) == (3, 1)
    assert [example[0] for odd in account.anomalies for example in odd.examples] == ["poem b/1"]
    report = tag.run(toy, limit=None)
    assert (report.total, report.asked.answered, report.left) == (4, 1, 0)
    assert all(json.loads(languages or "") for languages in _languages(toy).values())
    assert len(api.seen("POST", ":generateContent")) == 1
    assert tag.run(toy, limit=None).asked.calls == 0


@pytest.mark.full
def test_two_subjects_side_by_side_leave_each_other_alone(
    toy: OpenWorkspace, workspace: Workspace, people: Callable[..., list[str]]
) -> None:
    """A step takes the batches of its own task; what belongs to another task waits for that task's step."""
    people(2)
    _write_poems(toy)
    assert workspace.run("batch-submit").exit_code == 0
    _asked(toy)
    assert [account.batch.task for account in ingest.run(toy)] == ["toy-languages"]
    states = dict(workspace.query("SELECT task, state FROM findable_batches"))
    assert states == {"expert-tags": "submitted", "toy-languages": "ingested"}
    for command in ("batch-poll", "batch-ingest"):
        assert workspace.run(command).exit_code == 0
    assert workspace.scalar("SELECT count(*) FROM experts WHERE tags IS NOT NULL") == 2
