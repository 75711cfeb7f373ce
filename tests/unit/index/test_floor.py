"""When a hit is weak."""

from pipeline.index.manifest import Floor
from pipeline.index.write import nonsense


def test_a_hit_is_weak_below_the_line_between_both_floors() -> None:
    """A cosine or words that are enough alone, or a part of each."""
    floor = Floor(0.4, 8.0, 1.5)
    weak = [(0.39, 0.0), (0.0, 7.9), (0.2, 3.9), (-0.3, 9.0)]
    assert [floor.is_weak(*one, 30.0) for one in weak] == [True] * 4
    assert [floor.is_weak(*one, 30.0) for one in ((0.4, 0.0), (0.0, 8.0), (0.2, 4.1), (0.1, 7.0))] == [False] * 4


def test_of_a_short_question_most_of_what_it_tells_is_enough() -> None:
    """One word that tells 4 can give no 8; a question that tells nothing has the floor of all."""
    floor = Floor(0.4, 8.0, 1.5)
    assert [floor.is_weak(0.0, words, 4.0) for words in (3.0, 3.7)] == [True, False]
    assert floor.is_weak(0.1, 1.0, 0.0)


def test_words_alone_count_by_their_share_of_the_question() -> None:
    """A word that is all that is asked is enough, where the same beside others is not."""
    floor = Floor(0.4, 8.0, 1.5)
    assert [floor.is_weak(None, 3.0, told) for told in (4.0, 6.0, 6.1, 30.0)] == [False, False, True, True]
    assert floor.is_weak(None, 0.0, 0.0)


def test_each_question_without_meaning_stands_once() -> None:
    """They are asked together, in one call."""
    assert len(set(nonsense())) == len(nonsense()) <= 100
