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
    """For each id there is the hash its entry had, in vector order, and the row."""
    make(PEOPLE)
    wanted = {each.id: content_hash(each) for each in PEOPLE}
    with builds.open() as index:
        assert list(index.content_hashes().items()) == list(wanted.items())
        assert [index.entry_of(one) for one in wanted] == list(enumerate(wanted.values()))
        assert index.entry_of("no one") is None
