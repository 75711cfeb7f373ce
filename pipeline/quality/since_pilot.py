"""Compare what answers came to in a pilot with what they came to since: every share, every choice and number."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.quality.answer_tally import Tally
from pipeline.quality.figures import Figure, Rows, shown
from pipeline.quality.measures import Bound


class ChangedShare(NamedTuple):
    """One share in the pilot and since, and by how much of all it is worse; `items` on the side that has fewer."""

    name: str
    pilot: float
    later: float
    worse: float
    items: int


def changed_shares(
    pilot: Mapping[str, Figure], later: Mapping[str, Figure], bounds: Iterable[Bound]
) -> Iterator[ChangedShare]:
    """Yield each share of some bounds that was measured on either side; it gets worse towards its bound."""
    for name, low, *_ in bounds:
        then, now = pilot.get(name), later.get(name)
        if then is not None and now is not None and then.value is not None and now.value is not None:
            worse = now.value - then.value if low is None else then.value - now.value
            yield ChangedShare(name, then.value, now.value, worse, min(then.items, now.items))


def worst_change(changed: Sequence[ChangedShare], *, at_least: int) -> Figure:
    """Return by how much the share is worse that became worst, of those that were measured on `at_least` items."""
    worst = max((one for one in changed if one.items >= at_least), key=lambda one: one.worse, default=None)
    told = "how much worse a share is than in the pilot" + (f", most in {worst.name}" if worst else "")
    if worst is None:
        return Figure("worse", None, "share", told, 0)
    return Figure("worse", max(0.0, worst.worse), "share", told, worst.items)


def changes_table(changed: Sequence[ChangedShare]) -> Rows:
    """Return each share in the pilot and since, to be read."""
    cells = [(one.name, shown(one.pilot, "share"), shown(one.later, "share"), one.items) for one in changed]
    return Rows("Compared with the pilot", ("share", "pilot", "since", "of"), cells)


def moved_fields(pilot: Tally, later: Tally) -> Iterator[Figure]:
    """Yield how far the choices and numbers have moved since the pilot: the field that moved most, and each."""
    found = dict(later.divergences(pilot))
    fewest = min(pilot.answers, later.answers)
    worst = max(found, key=lambda path: found[path], default=None)
    told = "how else values are distributed than in the pilot" + (f", most in {worst}" if worst else "")
    yield Figure("divergence", found[worst] if worst else None, "bits", told, fewest)
    for path, bits in found.items():
        yield Figure(f"divergence-{path}", bits, "bits", f"how else {path} is distributed than in the pilot", fewest)
