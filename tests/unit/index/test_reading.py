"""A search answers from one build, whose index file is the one faiss would have written."""

from pipeline.index.builds import Builds
from pipeline.index.manifest import content_hash
from tests.unit.index.conftest import Make
from tests.unit.index.toy import entry, vectors_of

PEOPLE = [entry(number) for number in range(30)]


def test_an_open_index_outlives_its_build(make: Make, builds: Builds) -> None:
    """A reader that opened a build answers from it after the build was promoted away and removed."""
    make(PEOPLE)
    index = builds.open()
    for _ in range(3):
        make(PEOPLE[:2])
    assert 1 not in builds.whole()
    _, rows = index.nearest(vectors_of([PEOPLE[17].text])[0], 1)
    assert [index.metadata_at(row)["id"] for row in rows.tolist()] == [17]


def test_the_build_knows_what_it_was_made_from(make: Make, builds: Builds) -> None:
    """For each id there is the hash its entry had, in vector order; of some, however many of them were asked for."""
    make(PEOPLE)
    wanted = {each.id: content_hash(each) for each in PEOPLE}
    with builds.open() as index:
        assert list(index.content_hashes().items()) == list(wanted.items())
        for some in ([*wanted][:3], [*wanted][2:], [*wanted], ["1", "29", "2"], []):
            strange = [f"{one}0" for one in some]
            assert index.content_hashes([*some, *strange]) == {one: wanted[one] for one in some} | {
                one: wanted[one] for one in strange if one in wanted
            }
        assert [index.row_of(one) for one in wanted] == list(range(len(wanted)))
        assert index.row_of("no one") is None
    make(PEOPLE[5:])
    with builds.open() as index:
        assert [index.row_of(one.id) for one in PEOPLE[4:6]] == [None, 0]
