"""What a person is asked about with: the golden text, and the biography that stays data."""

from pipeline.experts.task import TAGGED, ExpertsTask

ROW = {"username": "ada", "job_title": " Analyst\n of engines ", "bio": "  Writes programs.\n\nWeaves.  "}


def test_the_hash_covers_all_that_is_asked() -> None:
    """Each of the three inputs changes the hash, and nothing else does."""
    same = next(ExpertsTask(TAGGED).items({"7": ROW})).input_hash
    assert next(ExpertsTask(TAGGED).items({"8": {**ROW, "company": "x", "tags": "[]"}})).input_hash == same
    for column in ROW:
        assert next(ExpertsTask(TAGGED).items({"7": {**ROW, column: "other"}})).input_hash != same
