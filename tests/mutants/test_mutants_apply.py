"""No mutant is lost where code is moved or renamed: each line stands where it is said to, and so does each test."""

from collections import Counter

from tests.mutants.mutation import killer_is_there, listed, mutated


def test_every_mutant_applies_and_its_test_is_there() -> None:
    """Every line stands exactly once in its file, what takes its place differs and compiles, and the test exists."""
    every = listed()
    assert len(every) >= 40
    assert [name for name, count in Counter(one.name for one in every).items() if count > 1] == []
    for one in every:
        assert one.before != one.after, one.name
        compile(mutated(one), one.file, "exec")
        assert killer_is_there(one), f"{one.name}: no test {one.killer}"
