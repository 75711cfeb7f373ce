"""A misplaced reply of a control request is found, and nothing else counts as one."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.gemini.control_requests import (
    CONTROL_KEYS,
    MAX_LINE_BYTES,
    NONCE_FIELD,
    find_control_replies,
    find_misplaced_nonce,
    make_control_requests,
    read_nonces,
)
from pipeline.gemini.requests import RequestSettings
from pipeline.gemini.result_file import ResultFile

SETTINGS = RequestSettings(answer_schema={"type": "OBJECT"}, thinking_config=None)
ROW_FIELDS = ("tags",)
TRIAL_COUNT = 200
Texts = list[str]


class Trial:
    """A request file with control requests, and its replies."""

    def __init__(self, folder: Path, row_count: int) -> None:
        """Write the request file: a row, a control request, the other rows, a control request."""
        self.folder = folder
        first_control, last_control = make_control_requests(SETTINGS)
        row_keys = [f"people/{number}" for number in range(row_count)]
        rows = [json.dumps({"key": key, "request": {}}).encode() + b"\n" for key in row_keys]
        self.path = folder / "requests.jsonl"
        lines = [rows[0], first_control.line, *rows[1:], last_control.line]
        self.path.write_bytes(b"".join(lines))
        self.keys = [row_keys[0], CONTROL_KEYS[0], *row_keys[1:], CONTROL_KEYS[1]]
        self.nonces = read_nonces(self.path)
        self.texts = [
            json.dumps({NONCE_FIELD: self.nonces[key]})
            if key in self.nonces
            else json.dumps({"tags": [key]})
            for key in self.keys
        ]

    def find(self, texts: Sequence[str], *, finish: str = "STOP") -> str:
        """Return what shows a mix-up if the keys, in their order, get these texts."""
        result_path = self.folder / "results.jsonl"
        lines = []
        for key, text in zip(self.keys, texts, strict=True):
            candidate = {"content": {"parts": [{"text": text}]}, "finishReason": finish}
            lines.append(json.dumps({"key": key, "response": {"candidates": [candidate]}}))
        result_path.write_text("\n".join(lines), encoding="utf-8")
        with ResultFile(result_path) as results:
            replies = find_control_replies(results)
        return find_misplaced_nonce(result_path, self.nonces, replies, row_fields=ROW_FIELDS)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """A trial with ten rows."""
    return Trial(tmp_path, 10)


def rotate(texts: Texts, by: int) -> Texts:
    """Give each key the text of an earlier request."""
    return [*texts[-by:], *texts[:-by]]


def shift_from(texts: Texts, start: int) -> Texts:
    """Give each key from `start` on the text of the next; the last keeps its own."""
    return [*texts[:start], *texts[start + 1 :], texts[-1]]


@pytest.mark.parametrize("change", [rotate, shift_from])
def test_every_rotation_and_every_shift_is_found(
    tmp_path: Path, change: Callable[[Texts, int], Texts]
) -> None:
    """Seeded rotations and shifts of 1,000 rows are found in every trial."""
    large_trial = Trial(tmp_path, 1_000)
    dice = random.Random(68)  # noqa: S311 - no secret
    for _ in range(20):
        position = dice.randrange(1, 1_001)
        assert large_trial.find(change(large_trial.texts, position)), position


def test_right_replies_show_nothing(tmp_path: Path) -> None:
    """Replies under their own keys are never held, whatever the nonces are."""
    for _ in range(TRIAL_COUNT):
        trial = Trial(tmp_path, 3)
        assert trial.find(trial.texts) == ""


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"findable_control": "other"}', '{"note": 1}', "{"]
)
def test_an_answer_of_another_form_proves_nothing(trial: Trial, text: str) -> None:
    """A model may ignore the schema of a control request."""
    texts = [*trial.texts]
    texts[1] = text
    assert trial.find(texts) == ""


def test_a_refused_answer_proves_nothing(trial: Trial) -> None:
    """Blocked replies are not compared."""
    assert trial.find(rotate(trial.texts, 1), finish="SAFETY") == ""


def test_the_reason_names_the_requests(trial: Trial) -> None:
    """The reason says which reply is at the wrong place, without keys of rows."""
    swapped = [*trial.texts]
    swapped[1], swapped[-1] = swapped[-1], swapped[1]
    assert trial.find(swapped) == "control request 1 got the reply to control request 2"
    of_row = [*trial.texts]
    of_row[1] = trial.texts[0]
    assert trial.find(of_row) == "control request 1 got the reply to a row"
    to_row = [*trial.texts]
    to_row[0] = trial.texts[1]
    assert trial.find(to_row) == "a row got the reply to control request 1"


def test_nonces_are_read_only_from_control_requests(tmp_path: Path, trial: Trial) -> None:
    """Other lines, and a file that is lost or cut, have no nonces."""
    assert set(trial.nonces) == set(CONTROL_KEYS)
    assert len(set(trial.nonces.values())) == len(CONTROL_KEYS)
    assert read_nonces(tmp_path / "missing.jsonl") == {}
    trial.path.write_bytes(b'{"key": "people/1", "request": {}}\n\n{"key": "control-1"')
    assert read_nonces(trial.path) == {}


def test_control_requests_are_short() -> None:
    """The last line of a file is found in its last bytes."""
    for control in make_control_requests(SETTINGS):
        assert len(control.line) < MAX_LINE_BYTES
        assert control.usage.prompt > 0
