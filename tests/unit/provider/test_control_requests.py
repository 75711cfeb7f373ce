"""A misplaced reply of a control request is found, and nothing else counts as one."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from askrows.pipeline.provider.control_requests import (
    CONTROL_KEYS,
    NONCE_FIELD,
    count_replies_with_own_nonce,
    describe_misplaced_reply,
    make_control_requests,
    read_and_mark_control_replies,
    read_nonces_by_key,
)
from askrows.pipeline.provider.requests import RequestSettings
from askrows.pipeline.provider.result_file import ResultFile

SETTINGS = RequestSettings(answer_schema={"type": "OBJECT"}, thinking_config=None)
ROW_FIELDS = ("tags",)
ROW_COUNTS = (20, 100, 300, 1_000)
# Trials of each mix-up and size.
TRIAL_COUNT = 30
# Sound batches: so many as they are, and so many of each odd reply to a control request.
SOUND_COUNT = 200
ODD_COUNT = 25
Texts = list[str]
ROW_ANSWER = '{"tags": ["law"]}'
ODD_REPLIES = {
    "prose": ("The word is", CONTROL_KEYS),
    "another form": ('{"note": 1}', CONTROL_KEYS),
    "another text": (f'{{"{NONCE_FIELD}": "other"}}', CONTROL_KEYS),
    "one like a row": (ROW_ANSWER, CONTROL_KEYS[1:2]),
}


class Trial:
    """A request file with control requests, and its replies."""

    def __init__(self, folder: Path, row_count: int) -> None:
        """Write the request file, with control requests on its second, middle and last line."""
        self.folder = folder
        row_keys = [f"people/{number}" for number in range(row_count)]
        rows = [json.dumps({"key": key, "request": {}}).encode() + b"\n" for key in row_keys]
        first, middle, last = (control.line for control in make_control_requests(SETTINGS))
        half = row_count // 2
        self.path = folder / "requests.jsonl"
        self.path.write_bytes(
            b"".join([rows[0], first, *rows[1:half], middle, *rows[half:], last]),
        )
        self.middle = half + 1
        self.keys = [
            row_keys[0],
            CONTROL_KEYS[0],
            *row_keys[1:half],
            CONTROL_KEYS[1],
            *row_keys[half:],
            CONTROL_KEYS[2],
        ]
        self.nonces = read_nonces_by_key(self.path)
        self.texts = [
            json.dumps({NONCE_FIELD: self.nonces[key]})
            if key in self.nonces
            else json.dumps({"tags": [key]})
            for key in self.keys
        ]

    def find(self, texts: Sequence[str], *, finish: str = "STOP") -> tuple[str, int]:
        """Return what shows a mix-up if the keys get these texts, and how many prove nothing."""
        result_path = self.folder / "results.jsonl"
        lines = []
        for key, text in zip(self.keys, texts, strict=True):
            candidate = {"content": {"parts": [{"text": text}]}, "finishReason": finish}
            lines.append(json.dumps({"key": key, "response": {"candidates": [candidate]}}))
        result_path.write_text("\n".join(lines), encoding="utf-8")
        with ResultFile(result_path) as results:
            replies = read_and_mark_control_replies(results)
        reason = describe_misplaced_reply(result_path, self.nonces, replies, row_fields=ROW_FIELDS)
        return reason, len(CONTROL_KEYS) - count_replies_with_own_nonce(self.nonces, replies)

    def with_text(self, text: str, keys: Sequence[str]) -> Texts:
        """Return the texts with another text of some keys."""
        return [
            text if key in keys else own_text
            for key, own_text in zip(self.keys, self.texts, strict=True)
        ]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """A trial with ten rows."""
    return Trial(tmp_path, 10)


def rotate(texts: Texts, by: int) -> Texts:
    """Give each key the text of an earlier request."""
    return [*texts[-by:], *texts[:-by]]


def rotate_from(texts: Texts, start: int) -> Texts:
    """Give each key from `start` on the text of the request before; `start` gets the last."""
    return [*texts[:start], texts[-1], *texts[start:-1]]


def shift_up(texts: Texts, start: int) -> Texts:
    """Give each key from `start` on the text of the next; the last keeps its own."""
    return [*texts[:start], *texts[start + 1 :], texts[-1]]


def shift_down(texts: Texts, start: int) -> Texts:
    """Give each key after `start` the text of the request before, so that one is there twice."""
    return [*texts[: start + 1], *texts[start:-1]]


def repeat(texts: Texts, start: int) -> Texts:
    """Give each key from `start` on the same text."""
    return [*texts[:start], *([texts[start]] * (len(texts) - start))]


@pytest.mark.parametrize("row_count", ROW_COUNTS)
@pytest.mark.parametrize("change", [rotate, rotate_from, shift_up, shift_down, repeat])
def test_every_mix_up_that_begins_before_the_middle_is_found(
    tmp_path: Path, change: Callable[[Texts, int], Texts], row_count: int
) -> None:
    """Seeded rotations, shifts and repeated replies are found in every trial."""
    large_trial = Trial(tmp_path, row_count)
    dice = random.Random(f"{change.__name__} {row_count}")  # noqa: S311 - no secret
    for _ in range(TRIAL_COUNT):
        position = dice.randrange(1, large_trial.middle)
        reason, _ = large_trial.find(change(large_trial.texts, position))
        assert reason, position


def test_right_replies_show_nothing(tmp_path: Path) -> None:
    """Replies under their own keys are never held, whatever the nonces are."""
    for _ in range(SOUND_COUNT):
        trial = Trial(tmp_path, 20)
        assert trial.find(trial.texts) == ("", 0)


@pytest.mark.full
@pytest.mark.parametrize(("text", "keys"), ODD_REPLIES.values(), ids=ODD_REPLIES)
def test_odd_replies_to_control_requests_prove_nothing(
    tmp_path: Path, text: str, keys: Sequence[str]
) -> None:
    """A model may ignore the schema; the requests that prove nothing are counted."""
    for _ in range(ODD_COUNT):
        trial = Trial(tmp_path, 20)
        assert trial.find(trial.with_text(text, keys)) == ("", len(keys))


def test_two_answers_like_those_of_rows_prove_a_mix_up(trial: Trial) -> None:
    """One such answer may be the fault of the model, two are not."""
    reason, unproven_count = trial.find(trial.with_text(ROW_ANSWER, CONTROL_KEYS[:2]))
    assert reason == "2 of 3 control requests got replies to rows"
    assert unproven_count == 2


def test_a_refused_answer_proves_nothing(trial: Trial) -> None:
    """Blocked replies are not compared."""
    assert trial.find(rotate(trial.texts, 1), finish="SAFETY") == ("", 3)


def test_the_reason_names_the_requests(trial: Trial) -> None:
    """The reason says which reply is at the wrong place, without keys of rows."""
    swapped = [*trial.texts]
    swapped[1], swapped[-1] = swapped[-1], swapped[1]
    assert trial.find(swapped)[0] == "control request 1 got the reply to control request 3"
    to_row = [*trial.texts]
    to_row[0] = trial.texts[1]
    assert trial.find(to_row)[0] == "a row got the reply to control request 1"


def test_nonces_are_read_only_from_control_requests(tmp_path: Path, trial: Trial) -> None:
    """Other lines, and a file that is lost or cut, have no nonces."""
    assert set(trial.nonces) == set(CONTROL_KEYS)
    assert len(set(trial.nonces.values())) == len(CONTROL_KEYS)
    assert read_nonces_by_key(tmp_path / "missing.jsonl") == {}
    trial.path.write_bytes(b'{"key":"people/1","request":{}}\n\n{"key":"control-1"')
    assert read_nonces_by_key(trial.path) == {}
