"""Try two ways to ask about the same items: a version by its stored answers, a model or a task's file by asking now."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.engine import questions, registry
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import pilot
from pipeline.store import answers
from pipeline.store.database import PAGE, streamed
from pipeline.workflows.try_out import TryReport, ask_trial, confirm_trials, plan_trial

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Connection

SIZE = 50


class Side(NamedTuple):
    """One way: what it is called, and the label of stored answers, or the workspace to ask with."""

    name: str
    label: str = ""
    ws: OpenWorkspace | None = None


class TriedPair(NamedTuple):
    """One item by id and name, and what each side says of it: an answer, or why there is none."""

    id: str
    name: str
    said: tuple[Mapping[str, Any] | str, Mapping[str, Any] | str]


class PairReport(NamedTuple):
    """Both sides in words, the items, and what was asked for it."""

    sides: tuple[str, str]
    pairs: list[TriedPair]
    asked: list[TryReport]


def run(
    ws: OpenWorkspace,
    texts: tuple[str, str],
    *,
    size: int,
    seed: int,
    announce: Callable[[int, float], None],
    confirm: Callable[[float], bool],
) -> PairReport:
    """Put two sides beside each other on a sample; `announce` and `confirm` are as in `try_out.run`.

    Raises:
        InputError: a side is none, there is nothing to try, or it was not confirmed; nothing was asked.
        ConfigurationError: no key, or no such model.
    """
    sides = [_side(ws, text) for text in texts]
    if any(one.ws for one in sides):
        ws.bring_items()
        questions.free_dead_owners(ws.store, now=ws.now())
    with ws.store.read() as tx:
        labels = [one.label for one in sides if one.ws is None]
        among = answers.items_of_versions(tx, ws.task.name, labels) if labels else _every(tx, ws.task)
        ids = pilot.draw_items(among, size=size, seed=seed)
        names = ws.task.names(tx, ids)
        said = [_stored(tx, ws.task, one.label, ids) if one.ws is None else {} for one in sides]
    if not names:
        raise InputError(
            f"there is no {ws.task.words.one} with an answer of {' and of '.join(labels) or 'any'}; nothing was asked",
            hint=f"`{ws.task.words.make('versions')}` lists those there are",
        )
    trials = {at: plan_trial(side.ws, list(names)) for at, side in enumerate(sides) if side.ws is not None}
    if trials:
        above = ws.settings.confirm_above
        confirm_trials(list(trials.values()), confirm_above=above, announce=announce, confirm=confirm)
    asked: list[TryReport] = []
    for at, trial in trials.items():
        if not any(one.stopped or one.interrupted for one in asked):
            asked.append(ask_trial(trial))
            said[at] = {one.id: one.answer or one.reason or one.outcome for one in asked[-1].items}
    a, b = said
    pairs = [TriedPair(one, name, (a.get(one, "not asked"), b.get(one, "not asked"))) for one, name in names.items()]
    return PairReport((sides[0].name, sides[1].name), pairs, asked)


def _side(ws: OpenWorkspace, text: str) -> Side:
    """Return the side that a text means: a version by its number or label, a model, or the path of a task's file."""
    if text.isdecimal() or "@" in text:
        label = f"{ws.task.label.partition('@')[0]}@{text}" if text.isdecimal() else text
        if not ws.task.keeps_answers:
            said = f"the answers of {ws.task.name} stand in a table of their own"
            raise InputError(said, hint="A= and B= may be two models, which are asked")
        return Side(f"the answers of {label}", label)
    if text.endswith(".py") or "/" in text:
        if not registry.is_declared(ws.settings):
            raise InputError(f"{ws.task.name} is no task of a file; nothing was asked", hint="A= may be a model")
        other = replace(ws, task=registry.declared().task_beside(ws.task, Path(text), at=ws.now()))
    else:
        sources = {**ws.settings.sources, "model": "A= or B="}
        other = replace(ws, settings=replace(ws.settings, model=text, sources=sources))
    name = f"{text} with {other.model.name}" if other.task is not ws.task else other.extractor
    other.client = ws.client
    return Side(name, ws=other)


def _stored(tx: "Connection", task: "Task", label: str, ids: list[str]) -> dict[str, Any]:
    found = answers.newest_of_version(tx, task.name, label, ids)
    return {key: json.loads(row["answer"]) for key, row in found.items()}


def _every(tx: "Connection", task: "Task") -> Iterator[str]:
    for query in (task.pending(tx), answers.answered_ids(task.name)):
        yield from streamed(tx, query, page=PAGE).scalars()
