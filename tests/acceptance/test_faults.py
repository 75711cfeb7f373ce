"""Every kind of failure at every endpoint of every command that meets it, and all is well in the end.

Which word means which kind of failure to the client is a table of `tests/integration/gemini`; here stands what a
command makes of each kind. What meets a create stands in `test_exactly_once`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import PEOPLE, Workspace

ALWAYS = 10_000
DEAD = "http://127.0.0.1:9"  # no server listens there
GENERATE = ("POST", r":generateContent$")
GET = ("GET", r"/batches/[^/:?]+$")
Word = tuple[str, dict[str, Any]]
PASSING: tuple[Word, ...] = (
    *((word, {}) for word in ("drop", "html_200", "lost_reply")),
    *(("success_code", {"code": 206}), ("quota_minute", {"delay": "0.1s"}), ("quota_bare", {})),
)
LASTING: tuple[Word, ...] = (("drop", {}), ("status", {"code": 503}), ("hang", {}))
KINDS: Mapping[str, Word] = {
    "daily": ("quota_day", {}),
    "refused": ("status", {"code": 413}),
    "key": ("key_invalid", {}),
    "gone": ("status", {"code": 404}),
}
SAID = {"daily": "UTC", "key": "GEMINI_API_KEY"}


class Place(NamedTuple):
    """A command and an endpoint that it meets: how it stands before, and the exit code of each kind of failure."""

    verb: str
    method: str
    path: str
    stage: str = ""
    argument: str = ""
    lasting: int = 4
    daily: int = 4
    refused: int = 4
    key: int = 3
    gone: int = 3
    passes: int = 0


PLACES = {
    "the start of an upload": Place("submit", "POST", r"^/upload/[^?]*$", "prepared"),
    "a piece of an upload": Place("submit", "POST", "upload_id=", "prepared"),
    "the list, after a lost create": Place(
        "submit", "GET", r"/batches(\?|$)", "unclear", refused=0
    ),
    "a look": Place("poll", *GET, "submitted"),
    "a download": Place("poll", "GET", ":download", "submitted"),
    "the look before a cancel": Place("cancel", *GET, "running", "1", gone=2),
    "a cancel": Place("cancel", "POST", ":cancel$", "running", "1", gone=2),
    "an index that embeds": Place("index", "POST", ":batchEmbedContents$", "served"),
    "a search that embeds": Place("search", "POST", ":batchEmbedContents$", "served", "bees"),
    "a live call": Place("tag_live", *GENERATE),
    "a trial": Place("try", *GENERATE),
    "doctor's list": Place("doctor", "GET", r"/batches(\?|$)", "submitted"),
    "doctor's look": Place("doctor", *GET, "submitted", gone=5),
}


def bring(workspace: Workspace, api: Engine, stage: str) -> None:
    """Bring people to where a command meets an endpoint."""
    workspace.people(3)
    if stage in {"prepared", "unclear"}:
        api.fault(
            "status", times=ALWAYS, path="^/upload/" if stage == "prepared" else r"^/v1\w*/batches"
        )
        api.fault("create_lost_reply")
        workspace.do("submit", RETRY_FOR=0, code=4)
    elif stage:
        api.configure(paused=stage == "running")
        workspace.do("submit")
    if stage == "served":
        workspace.each("poll", "ingest", "index")
        workspace.people(1, first=3)
        workspace.each("submit", "poll", "ingest")
    api.clear_faults()


def standing(workspace: Workspace, api: Engine) -> tuple[object, ...]:
    """Return all that a failure may not change: rows, batches, what was created, the build in service."""
    status = workspace.status()
    return status[PEOPLE], workspace.batch_states(), len(api.batches()), status["index"]["count"]


@pytest.mark.parametrize("at", PLACES)
def test_a_failure_leaves_all_as_it_was_and_one_that_passes_is_got_over(
    workspace: Workspace, api: Engine, at: str
) -> None:
    """Its exit code says whose turn it is; once it is over the same command works, and every person is tagged once."""
    place = PLACES[at]
    arguments = [place.argument] if place.argument else []
    bring(workspace, api, place.stage)
    before = standing(workspace, api)

    def strike(word: Word, code: int, said: str) -> None:
        api.fault(word[0], args=word[1], times=ALWAYS, method=place.method, path=place.path)
        limits = {"RETRY_FOR": 0.05, "POLL_PATIENCE": 0.05, "CONCURRENCY": 1}
        limits |= {"CALL_TIMEOUT": 0.5} if word[0] == "hang" else {}
        done = workspace.do(place.verb, *arguments, code=code, **limits)
        assert said in done.err, (word, done)
        assert api.faults()["faults"][0]["fired"], word
        assert code == 0 or standing(workspace, api) == before, word
        api.clear_faults()

    for kind, word in KINDS.items():
        if (code := getattr(place, kind)) != place.passes:
            strike(word, code, SAID.get(kind, ""))
    for word in LASTING:
        strike(word, place.lasting, "")
    for name, args in (
        PASSING if place.path != GENERATE[1] else PASSING[-2:]
    ):  # a run of live calls stops at too many
        api.fault(name, args=args, method=place.method, path=place.path)
    workspace.do(
        place.verb, *arguments, code=place.passes, RETRY_FOR=30, RETRY_WAIT=0.001, CONCURRENCY=1
    )
    assert api.faults()["used_up"]
    api.clear_faults()
    api.configure(paused=False)
    workspace.each(*("submit", "poll", "ingest") * 2)  # once more where the batch was cancelled
    assert workspace.states() == {"tagged": 4 if place.stage == "served" else 3}


DUE: tuple[Word, ...] = (
    *LASTING,
    *KINDS.values(),
    ("safety", {}),
    ("max_tokens", {}),
    ("schema_mismatch", {}),
)
TAGGED: tuple[Word, ...] = (
    ("quota_bare", {}),
    ("status", {"code": 503}),
    ("other_model", {}),
    ("no_usage", {}),
)


def test_who_is_added_is_saved_whatever_the_live_call_gives(
    workspace: Workspace, api: Engine
) -> None:
    """And tagged where that passes; what may have been answered, and paid, is not asked again while one waits."""
    for number, (word, args) in enumerate((*DUE, *TAGGED)):
        is_due = number < len(DUE)
        api.fault(
            word, args=args, times=ALWAYS if is_due else 1, method=GENERATE[0], path=GENERATE[1]
        )
        workspace.put("new.json", f'{{"username": "new-{number}", "bio": "I mend clocks."}}')
        limits: dict[str, Any] = {
            "RETRY_FOR": 0.05 if is_due else 2,
            "CALL_TIMEOUT": 0.5 if word == "hang" else 5,
        }
        add_run = workspace.do("add", "new.json", **limits)
        assert ("is due again" in add_run.err) is is_due, (word, add_run)
        api.clear_faults()
    assert workspace.states() == {"untagged": len(DUE), "tagged": len(TAGGED)}


@pytest.mark.parametrize("stage", ["prepared", "unclear", "submitted", "served"])
def test_a_server_that_is_not_there_changes_nothing(
    workspace: Workspace, api: Engine, stage: str
) -> None:
    """What needs it says that it cannot be reached, with 4; what does not works."""
    bring(workspace, api, stage)
    before = standing(workspace, api)
    url = workspace.url
    needing: Mapping[str, tuple[str, ...]] = {
        "prepared": ("submit", "doctor"),
        "unclear": ("submit", "doctor"),
        "submitted": ("poll", "cancel 1", "doctor"),
        "served": ("index", "search bees"),
    }
    workspace.url = DEAD
    for command in needing[stage]:
        verb, *words = command.split()
        assert (
            "cannot connect"
            in workspace.do(verb, *words, code=4, RETRY_FOR=0.05, POLL_PATIENCE=0.05).err
        )
        assert standing(workspace, api) == before, command
    workspace.each("status", "batches", "ingest")
    workspace.url = url
    workspace.each("submit", "poll", "ingest")
    assert "untagged" not in workspace.states()
