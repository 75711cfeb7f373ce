"""Edits by hand: whatever two clients do while answers come in, the tags are the replay of what was taken."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import ChangedMeanwhileError, InputError
from pipeline.core.states import Outcome
from pipeline.engine import correct, record
from pipeline.engine.record import Judgement, Source
from pipeline.experts import table
from pipeline.experts.tags import Document
from pipeline.gemini import models
from pipeline.store.asks import Ask
from tests.lab import Workspace

TAGS = st.sampled_from("abc")
CLIENTS = st.sampled_from(["ada", "bob"])
STEPS = st.one_of(
    st.tuples(st.just("look"), CLIENTS),
    st.tuples(st.just("edit"), CLIENTS, TAGS, st.booleans()),
    st.tuples(st.just("undo"), CLIENTS, st.integers(1, 3)),
    st.tuples(st.just("answer"), st.lists(TAGS, min_size=1, unique=True)),
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A workspace, open."""
    data = tmp_path_factory.mktemp("edits") / "data"
    with Workspace(data, {"FINDABLE_DATA": str(data), "FINDABLE_BACKEND": "local"}).open() as ws:
        yield ws


class Replay:
    """One person, two clients with what each was shown last, and what the tags must be."""

    def __init__(self, ws: Any) -> None:
        """Begin with a person who has no tags; both clients look."""
        self.ws = ws
        with ws.store.write() as tx:
            number = table.people(tx).total(tx)
            self.name = f"person-{number}"
            self.key = table.insert_person(tx, self.name, {"bio": "I teach water law."})
        self.tags: list[str] = []
        self.taken: list[tuple[str, list[str], list[str]]] = []  # who, before, after
        self.shown: dict[str, str] = {}
        for client in ("ada", "bob"):
            self.look(client)

    def look(self, client: str) -> None:
        """Let a client see the tags as they are."""
        self.shown[client] = correct.history(self.ws, self.name)["state"]

    def edit(self, client: str, tag: str, is_added: bool) -> None:  # noqa: FBT001 - as the steps have it
        """Let a client add a tag to what it was shown last, or remove it."""
        wanted = [*(one for one in self.tags if one != tag), *([tag] if is_added else [])]
        if wanted == self.tags:
            return
        edit = partial(correct.correct, self.ws, self.name, {"tags": wanted})
        self._done(client, {*wanted} or None, lambda client: edit(who=client))

    def undo(self, client: str, number: int) -> None:
        """Let a client undo an edit: what it added goes, what it removed comes back, what others changed stays."""
        wanted = None
        if number <= len(self.taken):
            _, before, after = self.taken[number - 1]
            wanted = ({*self.tags} - ({*after} - {*before})) | ({*before} - {*after})
        self._done(client, wanted, lambda client: correct.undo(self.ws, self.name, number, who=client))

    def answer(self, said: list[str]) -> None:
        """Let the answer of a model come in, by the way that all take."""
        with self.ws.store.write() as tx:
            task = self.ws.task
            asked = Ask(self.key, next(task.items(task.rows(tx, [self.key]))).input_hash, is_given=True)
            told = Judgement(asked, Outcome.ANSWERED, "", answer=task.answer(tags=said))
            source = Source(None, "expert-tags@2/m", next(iter(models.load_models(None).values())))
            done = record.write_judgements(tx, task, [told], source=source, at=self.ws.now())
        assert bool(done.applied) == (self.tags == [])
        self.tags = self.tags or said

    def check(self) -> None:
        """Hold the tags, and every edit that was taken, against the replay."""
        found = correct.history(self.ws, self.name)
        assert found["answer"]["tags"] == self.tags
        assert [
            (one["who"], *(one[at].get("tags", []) for at in ("before", "after"))) for one in found["edits"]
        ] == self.taken

    def _done(self, client: str, wanted: set[str] | None, edit: Callable[..., Document]) -> None:
        """Edit; that must be refused where the client was shown another state, or no tags can be `wanted`."""
        if self.shown[client] != correct.history(self.ws, self.name)["state"]:
            with pytest.raises(ChangedMeanwhileError):
                correct.correct(self.ws, self.name, {}, who=client, of_state=self.shown[client])
            return
        with contextlib.nullcontext() if wanted else pytest.raises(InputError) as error:
            done = edit(client)
        if error is not None:
            return
        after = done["answer"]["tags"]
        assert {*after} == wanted
        if done["edit"] is not None:
            self.taken.append((client, self.tags, after))
            self.tags = after
        self.shown[client] = done["state"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12))
def test_the_tags_are_the_replay_of_the_edits_that_were_taken(opened: Any, steps: list[tuple[Any, ...]]) -> None:
    """An edit is taken from the state of now alone, and a model's answer where no tags are; none is lost."""
    replay = Replay(opened)
    for name, *arguments in steps:
        getattr(replay, name)(*arguments)
    replay.check()
