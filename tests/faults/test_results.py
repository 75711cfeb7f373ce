"""Faults of result files and of a batch's end, through submit, poll and ingest: every request is accounted for once."""

from dataclasses import astuple, dataclass, field, replace
from typing import Any

import pytest

from tests.faults import ground
from tests.faults.ground import PEOPLE, Facts, Ground, Script

pytestmark = pytest.mark.sampled(12, sqlite=8)

ONE = "^expert-tags/2$"
TWO = "^expert-tags/[23]$"
CHARGED = 1


@dataclass(frozen=True)
class Account:
    """What the batch says became of its requests, and of lines that were not asked for."""

    answered: int = 0
    refused: int = 0
    invalid: int = 0
    missing: int = 0
    unknown: int = 0
    duplicates: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class Row:
    """One fault of a result, the account it must lead to, and how many attempts are held against people."""

    word: str
    account: Account
    charged: int = 0
    args: dict[str, Any] = field(default_factory=dict)
    key: str = ONE
    times: int | None = 1
    parked: int = 0  # people who are not asked again, for the code says that it cannot help

    def __str__(self) -> str:
        """Return the row's name."""
        return f"{self.word} {' '.join(str(value) for value in self.args.values())}".strip()


ALL = Account(answered=PEOPLE)
REFUSED = Account(answered=PEOPLE - 1, refused=1)
INVALID = Account(answered=PEOPLE - 1, invalid=1)
MISSING = Account(answered=PEOPLE - 1, missing=1)
HALF = Account(answered=PEOPLE // 2, missing=PEOPLE // 2)

ROWS = [
    Row("missing_line", MISSING, CHARGED),
    Row("duplicate_equal", Account(PEOPLE, duplicates=1)),
    Row("duplicate_different", Account(PEOPLE, duplicates=1)),
    Row("duplicate_error_first", Account(PEOPLE, duplicates=1)),
    Row("unknown_key", Account(PEOPLE, unknown=1)),
    Row("unknown_key", Account(PEOPLE, unknown=1), args={"name": "../../etc/passwd"}),
    Row("more_rows", Account(PEOPLE, unknown=10)),
    Row("more_rows", Account(PEOPLE, unknown=40_000), args={"count": 40_000}),
    Row("swapped_bodies", ALL, key=TWO, times=2),
    Row("garbage_line", Account(PEOPLE, unreadable=1)),
    Row("broken_line", Account(PEOPLE - 1, missing=1, unreadable=1), CHARGED),
    Row("long_line", ALL, args={"bytes": 20_000_000}),
    Row("line_separators", ALL),
    Row("number_key", Account(PEOPLE - 1, missing=1, unknown=1), CHARGED),
    Row("invalid_utf8", INVALID, CHARGED),
    *(Row("error_line", REFUSED, CHARGED, {"code": code}, parked=1) for code in (3, 5, 7, 9)),
    *(Row("error_line", REFUSED, CHARGED, {"code": code}) for code in (4, 8, 13, 14, 408, 429, 500, 503)),
    Row("error_line", REFUSED, CHARGED, {"code": 13, "message": ""}),
    Row("error_line", REFUSED, CHARGED, {"code": 13, "with_response": True}),
    Row("all_lines_fail", Account(refused=PEOPLE), PEOPLE, {"code": 13}, key="", times=None),
    Row("all_lines_fail", Account(refused=PEOPLE), PEOPLE, {"code": 3}, key="", times=None, parked=PEOPLE),
    Row("answer_text", REFUSED, CHARGED, {"text": ""}),
    Row("answer_text", INVALID, CHARGED, {"text": "{}"}),
    Row("answer_text", INVALID, CHARGED, {"text": '{"tags": ["a", NaN, "c"]}'}),
    Row("max_tokens", INVALID, CHARGED),
    Row("max_tokens_empty", REFUSED, CHARGED),
    Row("prompt_blocked", REFUSED, CHARGED),
    Row("safety", REFUSED, CHARGED),
    Row("recitation", REFUSED, CHARGED),
    Row("no_candidates", REFUSED, CHARGED),
    Row("unknown_finish", REFUSED, CHARGED),
    Row("schema_mismatch", INVALID, CHARGED),
    Row("markdown_fence", INVALID, CHARGED),
    Row("other_model", ALL),
    Row("no_usage", ALL),
    Row("cut_last_line", Account(PEOPLE - 1, missing=1, unreadable=1), CHARGED, key=""),
    Row("no_last_newline", ALL, key=""),
    Row("blank_lines", ALL, key=""),
    Row("crlf", ALL, key=""),
    Row("bom", ALL, key=""),
    Row("batch_fails", HALF, 0, {"partial": 0.5}, key=""),
    Row("batch_expires", HALF, 0, {"partial": 0.5}, key=""),
    Row("batch_cancelled", HALF, 0, {"partial": 0.5}, key=""),
]


OF_LINES = [row for row in ROWS if row.key == ONE]


def test_every_line_of_a_spoilt_result_is_accounted_for(asking: Ground) -> None:
    """In one batch with every fault of a line the account is the sum of what the table says of each."""
    total = len(OF_LINES)
    ground.add_people(asking.workspace, first=PEOPLE, until=total)
    faults = [Script(row.word, row.args, key=f"^expert-tags/{number}$") for number, row in enumerate(OF_LINES, 1)]
    asking.script(*faults)
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        asking.ran(command)
    of_all = Account(*(sum(column) for column in zip(*(astuple(row.account) for row in OF_LINES), strict=True)))
    assert _account(asking) == replace(of_all, answered=of_all.answered - total * (PEOPLE - 1))
    assert asking.facts().charged == sum(row.charged for row in OF_LINES)
    assert asking.struck(), "a fault never struck"
    asking.recover()
    assert asking.facts().tagged == total - sum(row.parked for row in OF_LINES)


def _account(asking: Ground) -> Account:
    """Return what the first batch came to."""
    columns = ", ".join(Account.__dataclass_fields__)
    sql = f"SELECT {columns} FROM findable_batch_accounts WHERE batch = 1"  # noqa: S608 - our names
    return Account(*asking.workspace.query(sql)[0])


@pytest.mark.parametrize("row", [row for row in ROWS if row.key != ONE], ids=str)
def test_every_request_of_a_spoilt_result_is_accounted_for(row: Row, asking: Ground) -> None:
    """The account is that of the table, the other answers are kept, and who has none is asked again and tagged."""
    asking.script(Script(row.word, row.args, key=row.key, times=row.times))
    for command in ("batch-submit", "batch-poll", "batch-ingest"):
        done = asking.ran(command)
    assert _account(asking) == row.account, done.output
    answered = row.account.answered
    assert asking.facts() == Facts(("ingested",), tagged=answered, charged=row.charged, creates=1, remote=1)
    assert asking.struck(), "the fault never struck"
    asking.recover()
    assert asking.facts().tagged == PEOPLE - row.parked
    again = answered + row.parked < PEOPLE
    assert asking.live() == 1 + again - (row.word == "batch_cancelled")


@pytest.mark.parametrize("word", ["page_repeats", "empty_page", "page_status"])
def test_a_lost_create_is_found_behind_odd_pages(word: str, asking: Ground) -> None:
    """F57, F58: pages that repeat, are empty or fail once do not keep the look from the page where the batch is."""
    asking.api.configure(list_page_most=1, paused=True)
    asking.script(Script("create_lost_reply"), Script("duplicate_batch"), Script(word))
    asking.ran("batch-submit")
    assert asking.struck()
    assert asking.facts() == Facts(("submitted",), claimed=PEOPLE, creates=1, remote=2)
    assert asking.workspace.query("SELECT count(*) FROM findable_twins WHERE cancelled_at IS NOT NULL") == [(1,)]
    asking.api.configure(paused=False)
    asking.recover()
    assert (asking.facts().tagged, asking.live()) == (PEOPLE, 1)
