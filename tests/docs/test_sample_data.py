"""The sample has reserved addresses and complete judgements."""

import csv
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
# RFC 2606 reserves these names for examples, so nobody can own them.
RESERVED = re.compile(r"(^|\.)(example\.(com|net|org)|example)$")


@pytest.fixture(name="people")
def _people() -> list[dict[str, str]]:
    """Return the rows of experts.csv as the standard reader sees them, in file order."""
    with (SAMPLE / "experts.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def _web_problems(person: dict[str, str]) -> list[str]:
    """List the invalid addresses of a person."""
    page = person["Profile URL"]
    tracked = person["Profile URL with UTM"]
    problems = []
    for url in filter(None, (page, tracked)):
        parts = urlsplit(url)
        if parts.scheme != "https" or not RESERVED.search(parts.hostname or ""):
            problems.append(url)
    if tracked and (not page or not tracked.startswith(f"{page}?utm_source=")):
        problems.append(tracked)
    return problems


def test_addresses_are_on_reserved_domains_only(people: list[dict[str, str]]) -> None:
    """No link of the sample can lead to a real page, whether in its column or in a biography."""
    assert {
        person["Username"]: _web_problems(person) for person in people if _web_problems(person)
    } == {}
    assert [
        person["Username"] for person in people if "://" in person["Bio"] or "@" in person["Bio"]
    ] == []


def test_every_question_is_judged_and_every_judgement_is_valid(
    people: list[dict[str, str]],
) -> None:
    """Thirty questions have unique judgements of people with a biography."""
    questions = [
        json.loads(line)
        for line in (SAMPLE / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    judgements = [
        line.split("\t") for line in (SAMPLE / "qrels.tsv").read_text(encoding="utf-8").splitlines()
    ]
    assert [question["qid"] for question in questions] == [
        f"S{number:02d}" for number in range(1, 31)
    ]
    assert {question["type"] for question in questions} == {"topic", "need"}
    assert all(set(question) == {"qid", "type", "text"} for question in questions)
    assert len({question["text"] for question in questions}) == 30
    readable = {person["Username"] for person in people if person["Bio"]}
    assert [line for line in judgements if len(line) != 4 or line[1] != "0" or line[3] != "1"] == []
    assert {line[0] for line in judgements} == {question["qid"] for question in questions}
    assert {line[2] for line in judgements} <= readable
    assert len({(line[0], line[2]) for line in judgements}) == len(judgements)
