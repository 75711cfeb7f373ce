"""The figures of readability are counted as documented, and may only improve until the goal."""

from pathlib import Path

from tests import readability
from tests.readability import (
    COMMENTS,
    EMPTY_NAMES,
    MESSAGES,
    NESTED,
    PACKED,
    PROSE,
    TWO_LOOPS,
)

SAMPLE = '''"""Tell what is where."""

# A comment.


def one(path):
    found, said = path, 2
    kind = 1 if path else 2 if said else 3
    return [cell for row in found for cell in row]
'''


def test_each_figure_counts_its_construct(tmp_path: Path) -> None:
    """Four of seven names are not empty, and each construct occurs once."""
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE)
    counts = readability._Counts()
    counts.add_file(path)
    assert dict(counts.empty_names) == {
        "one": 1,
        "path": 0,
        "found": 1,
        "said": 1,
        "kind": 0,
        "row": 0,
        "cell": 0,
    }
    figures = counts.figures()
    assert figures[EMPTY_NAMES] == round(100 * 3 / 7, 2)
    assert figures[COMMENTS] == round(100 / 9, 2)
    assert {figures[name] for name in (PACKED, NESTED, TWO_LOOPS)} == {250.0}
    # The six words contain three convoluted phrases.
    assert figures[PROSE] == 500.0


def test_messages_are_texts_of_several_words_that_are_no_docstring_and_no_sql(
    tmp_path: Path,
) -> None:
    """An f-string is read as a whole; short texts, docstrings and SQL are left out."""
    path = tmp_path / "sample.py"
    path.write_text(
        '"""The docstring of a module is not a message."""\n'
        'message = f"the file {path} is where {count} rows stand"\n'
        'query = "SELECT what is told FROM one"\n'
        'name = "three short words"\n'
    )
    counts = readability._Counts()
    counts.add_file(path)
    assert counts.messages == ["the file {} is where {} rows stand"]
    # The text contains two convoluted words.
    assert counts.figures()[MESSAGES] == round(1000 * 2 / 6, 2)


def test_a_figure_may_only_improve_until_its_goal() -> None:
    """Between the goal and the recorded value a figure is free."""
    recorded = {"core": {EMPTY_NAMES: 9.0, COMMENTS: 1.0}}
    better_figures = {"core": {EMPTY_NAMES: 8.0, COMMENTS: 1.5}}
    worse_figures = {"core": {EMPTY_NAMES: 9.5, COMMENTS: 0.5}}
    figures_at_goal = {"core": {EMPTY_NAMES: 1.5, COMMENTS: 2.0}}

    assert list(readability.find_violations(better_figures, recorded)) == []
    assert list(readability.find_violations(figures_at_goal, better_figures)) == []
    assert list(readability.find_violations(worse_figures, recorded)) == [
        "core: empty names, %: 9.5, recorded are 9.0",
        "core: comment lines, %: 0.5, recorded are 1.0",
    ]


def test_goals_of_tests_are_twice_as_wide() -> None:
    """Test code may have twice as many empty names, and half as many comments."""
    assert readability.goal_of("tests", EMPTY_NAMES) == 2 * readability.goal_of("core", EMPTY_NAMES)
    assert readability.goal_of("tests", COMMENTS) == readability.goal_of("core", COMMENTS) / 2
