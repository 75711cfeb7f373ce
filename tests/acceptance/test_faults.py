"""A failure of any kind at any endpoint of any command changes no state, and the work completes.

A table in `tests/integration/gemini` assigns a kind to each failure. These tests check the effect
of each kind on a command. `test_exactly_once` has the failures of a create.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.acceptance.engine import (
    CANCEL_PATH,
    DOWNLOAD_PATH,
    LIST_PATH,
    LIVE_CALL_PATH,
    MANY_TIMES,
    UPLOAD_PATH,
    Engine,
)
from tests.acceptance.product import PEOPLE, PROVIDER, Workspace

# More requests than a test makes.
GENERATE = ("POST", LIVE_CALL_PATH)
# What the paths of one batch, and of an embedding call, look like.
BATCH_PATH = r"/batches/[^/:?]+$"
EMBED_PATH = r":batchEmbedContents$|/embeddings$"
GET = ("GET", BATCH_PATH)
# The name of a fault and its arguments.
Failure = tuple[str, dict[str, Any]]
PASSING_FAILURES: tuple[Failure, ...] = (
    ("drop", {}),
    ("html_200", {}),
    ("lost_reply", {}),
    ("success_code", {"code": 206}),
    ("quota_minute", {"delay": "0.1s"}),
    ("quota_bare", {}),
)
LASTING_FAILURES: tuple[Failure, ...] = (("drop", {}), ("status", {"code": 503}), ("hang", {}))
KINDS: Mapping[str, Failure] = {
    "daily": ("quota_day", {}),
    "refused": ("status", {"code": 413}),
    "key": ("key_invalid", {}),
    "gone": ("status", {"code": 404}),
}
# Words of the message of a kind.
MESSAGE_WORDS = {"daily": "UTC", "key": f"{PROVIDER.upper()}_API_KEY"}


class Place(NamedTuple):
    """A command, an endpoint that it uses, and the exit code of each kind of failure."""

    verb: str
    method: str
    path: str
    # The state of the workspace before the command.
    stage: str = ""
    argument: str = ""
    lasting: int = 4
    daily: int = 4
    refused: int = 4
    key: int = 3
    gone: int = 3
    # The exit code without a failure.
    success: int = 0


PLACES = {
    "the start of an upload": Place("submit", "POST", UPLOAD_PATH, "prepared"),
    "the list, after a lost create": Place("submit", "GET", LIST_PATH, "unclear", refused=0),
    "a look": Place("poll", *GET, "submitted"),
    "a download": Place("poll", "GET", DOWNLOAD_PATH, "submitted"),
    "the look before a cancel": Place("cancel", *GET, "running", "1", gone=2),
    "a cancel": Place("cancel", "POST", CANCEL_PATH, "running", "1", gone=2),
    "an index that embeds": Place("index", "POST", EMBED_PATH, "served"),
    "a search that embeds": Place("search", "POST", EMBED_PATH, "served", "bees"),
    "a live call": Place("tag_live", *GENERATE),
    "a trial": Place("try", *GENERATE),
    "doctor's list": Place("doctor", "GET", LIST_PATH, "submitted"),
    "doctor's look": Place("doctor", *GET, "submitted", gone=5),
}
# OpenAI takes an upload in one request.
if PROVIDER == "gemini":
    PLACES["a piece of an upload"] = Place("submit", "POST", "upload_id=", "prepared")


def prepare_stage(workspace: Workspace, api: Engine, stage: str) -> None:
    """Bring people to the state before a command of a stage."""
    workspace.import_people(3)
    if stage in {"prepared", "unclear"}:
        path = UPLOAD_PATH if stage == "prepared" else LIST_PATH
        method = "POST" if stage == "prepared" else "GET"
        api.script_fault("status", times=MANY_TIMES, method=method, path=path)
        api.script_fault("create_lost_reply")
        workspace.run_command("submit", RETRY_FOR=0, code=4)
    elif stage:
        api.configure(paused=stage == "running")
        workspace.run_command("submit")
    if stage == "served":
        workspace.run_commands("poll", "ingest", "index")
        workspace.import_people(1, first=3)
        workspace.run_commands("submit", "poll", "ingest")
    api.clear_faults()


def read_state(workspace: Workspace, api: Engine) -> tuple[object, ...]:
    """Return the state that a failure must not change.

    It is the rows, the batches, the number of created batches, and the build in service.
    """
    status = workspace.status()
    return status[PEOPLE], workspace.batch_states(), len(api.batches()), status["index"]["count"]


@pytest.mark.parametrize("name", PLACES)
def test_a_failure_changes_nothing_and_a_short_failure_is_retried(
    workspace: Workspace, api: Engine, name: str
) -> None:
    """The exit code names the cause; afterwards the command works, and all people are tagged."""
    place = PLACES[name]
    arguments = [place.argument] if place.argument else []
    prepare_stage(workspace, api, place.stage)
    state_before = read_state(workspace, api)

    def run_with_failure(failure: Failure, code: int, message_word: str) -> None:
        fault, args = failure
        api.script_fault(fault, args=args, times=MANY_TIMES, method=place.method, path=place.path)
        limits = {"RETRY_FOR": 0.05, "POLL_PATIENCE": 0.05, "CONCURRENCY": 1}
        if fault == "hang":
            limits["CALL_TIMEOUT"] = 0.5
        process = workspace.run_command(place.verb, *arguments, code=code, **limits)
        assert message_word in process.stderr, (failure, process)
        assert api.scripted_faults()["faults"][0]["fired"], failure
        assert code == 0 or read_state(workspace, api) == state_before, failure
        api.clear_faults()

    for kind, failure in KINDS.items():
        code = getattr(place, kind)
        if code != place.success:
            run_with_failure(failure, code, MESSAGE_WORDS.get(kind, ""))
    for failure in LASTING_FAILURES:
        run_with_failure(failure, place.lasting, "")

    # A run of live calls stops after several failures.
    is_live_call = place.path == GENERATE[1]
    for fault, args in PASSING_FAILURES[-2:] if is_live_call else PASSING_FAILURES:
        api.script_fault(fault, args=args, method=place.method, path=place.path)
    limits = {"RETRY_FOR": 30, "RETRY_WAIT": 0.001, "CONCURRENCY": 1}
    workspace.run_command(place.verb, *arguments, code=place.success, **limits)
    assert api.scripted_faults()["used_up"]

    api.clear_faults()
    api.configure(paused=False)
    # The second pass asks again for the rows of a cancelled batch.
    for _ in range(2):
        workspace.run_commands("submit", "poll", "ingest")
    assert workspace.state_counts() == {"tagged": 4 if place.stage == "served" else 3}


FAILURES_WITHOUT_TAGS: tuple[Failure, ...] = (
    *LASTING_FAILURES,
    *KINDS.values(),
    ("safety", {}),
    ("max_tokens", {}),
    ("schema_mismatch", {}),
)
FAILURES_WITH_TAGS: tuple[Failure, ...] = (
    ("quota_bare", {}),
    ("status", {"code": 503}),
    ("other_model", {}),
    ("no_usage", {}),
)


def test_an_added_person_is_saved_after_every_failure_of_the_live_call(
    workspace: Workspace, api: Engine
) -> None:
    """A retry after a short failure adds tags; a call that may be paid is not repeated at once."""
    for number, (fault, args) in enumerate((*FAILURES_WITHOUT_TAGS, *FAILURES_WITH_TAGS)):
        is_lasting = number < len(FAILURES_WITHOUT_TAGS)
        times = MANY_TIMES if is_lasting else 1
        api.script_fault(fault, args=args, times=times, method=GENERATE[0], path=GENERATE[1])
        workspace.write_file("new.json", f'{{"username": "new-{number}", "bio": "I mend clocks."}}')
        limits: dict[str, Any] = {
            "RETRY_FOR": 0.05 if is_lasting else 2,
            "CALL_TIMEOUT": 0.5 if fault == "hang" else 5,
        }
        process = workspace.run_command("add", "new.json", **limits)
        assert ("is stored without an answer" in process.stderr) is is_lasting, (fault, process)
        api.clear_faults()

    assert workspace.state_counts() == {
        "open": len(FAILURES_WITHOUT_TAGS),
        "tagged": len(FAILURES_WITH_TAGS),
    }
