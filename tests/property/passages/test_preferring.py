"""The query of the best concepts against what plain Python would choose, and the view against the query."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.core.settings import Settings
from pipeline.engine.session import WorkspaceSession
from pipeline.passages import table
from pipeline.passages.shape import COLUMNS, ConceptRow
from pipeline.store import batches
from tests.integration.passages.workspaces import shape, workspace
from tests.lab import ON_POSTGRESQL
from tests.unit.store.facts import BATCH

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("v@1", "v@2", "o'clock %(x)s :y", "foreign")  # the last is never begun here
MODELS = ("m", "n/x")
NAMES = ("water law", "Water Law", "土")
CONFIDENCES = (0.5, 0.69999, 0.7, 0.9, 1.0)


class One(NamedTuple):
    """One stored concept; `at` is in hours."""

    passage: str
    name: str
    confidence: float
    label: str
    model: str
    at: int


CONCEPTS = st.lists(
    st.builds(
        One,
        st.sampled_from(["p", "p", "q"]),
        st.sampled_from(NAMES),
        st.sampled_from(CONFIDENCES),
        st.sampled_from(LABELS),
        st.sampled_from(MODELS),
        st.integers(0, 3),
    ),
    min_size=6,
    max_size=14,
)
PREFERENCES = st.builds(
    Settings,
    task=st.just("passages"),
    prefer_versions=st.none()
    | st.lists(st.sampled_from([*LABELS, "absent"]), min_size=1, max_size=3, unique=True).map(
        tuple
    ),
    min_confidence=st.sampled_from([0.0, 0.7, 0.7, 1.0]),
)
BEGUN = st.integers(0, 3)  # hours
BEGINNINGS = st.fixed_dictionaries(
    {(label, "m"): BEGUN for label in LABELS[:2]},
    optional={("v@1", "n/x"): BEGUN, (LABELS[2], "m"): BEGUN},
)
SAME = [One("p", "water law", 0.9, label, "m", 0) for label in LABELS]  # the version alone decides


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceSession]:
    """A workspace with two passages."""
    with workspace(tmp_path_factory.mktemp("preferring")) as ws:
        here = shape(ws)
        with ws.store.write() as tx:
            told = {"text": "some text", "source": None, "metadata": None}
            table.put_passages(tx, here, [{"id": key, **told} for key in ("p", "q")])
        yield ws


@settings(
    max_examples=settings().max_examples // (5 if ON_POSTGRESQL else 2),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(concepts=CONCEPTS, preference=PREFERENCES, begun=BEGINNINGS)
@example(
    concepts=SAME,
    preference=Settings(task="passages", min_confidence=0.7),
    begun={(LABELS[0], "m"): 0, (LABELS[1], "m"): 3},
)
@example(
    concepts=SAME,
    preference=Settings(task="passages", min_confidence=0.7),
    begun={(LABELS[0], "m"): 3, (LABELS[1], "m"): 0},
)
@example(
    concepts=SAME,
    preference=Settings(task="passages", prefer_versions=LABELS[2:3]),
    begun={(LABELS[0], "m"): 3},
)
def test_the_best_are_those_that_python_would_choose(
    ws: WorkspaceSession,
    concepts: Sequence[One],
    preference: Settings,
    begun: dict[tuple[str, str], int],
) -> None:
    """Of each name in any case the first by preference, in sight and sure enough."""
    with stored(ws, concepts, begun):
        wanted = chosen(concepts, preference, begun)
        here = shape(ws)
        with ws.store.read() as tx:
            assert sorted(map(told, table.best_concepts(tx, here, preference))) == wanted
        with ws.store.write() as tx:
            assert table.TABLES.adopt(tx, preference) == []
        with ws.store.read() as tx:
            assert table.TABLES.is_adopted(tx, preference)
            seen = tx.exec_driver_sql(f"SELECT {', '.join(COLUMNS)} FROM best_concepts").all()  # noqa: S608
            assert sorted(told(ConceptRow(*row)) for row in seen) == wanted
            all_concepts = sorted(map(told, table.all_concepts(tx, here)))
        assert all_concepts == sorted(map(told_of, concepts))


def chosen(
    concepts: Sequence[One], preference: Settings, begun: dict[tuple[str, str], int]
) -> list[tuple[Any, ...]]:
    """Return what the best concepts are, by the words of the setting."""
    labels = preference.prefer_versions or ()

    def place(pair: tuple[int, One]) -> tuple[Any, ...]:
        number, one = pair
        rank = labels.index(one.label) if one.label in labels else len(labels)
        began = begun.get((one.label, one.model))
        return (rank, began is None, -(began or 0), -one.at, -one.confidence, number)

    best: dict[tuple[str, str], One] = {}
    for _, one in sorted(enumerate(concepts), key=place):
        if one.confidence >= preference.min_confidence:
            best.setdefault((one.passage, one.name.lower()), one)
    return sorted(map(told_of, best.values()))


def told(concept_row: ConceptRow) -> tuple[Any, ...]:
    """Return a concept that was read as a tuple that can be sorted."""
    return (
        concept_row.passage_id,
        concept_row.concept_name,
        concept_row.extractor_version,
        concept_row.extractor_model,
        float(concept_row.confidence),
    )


def told_of(one: One) -> tuple[Any, ...]:
    """Return a concept that was stored as the same."""
    return (one.passage, one.name, one.label, one.model, one.confidence)


@contextmanager
def stored(
    ws: WorkspaceSession, concepts: Sequence[One], begun: dict[tuple[str, str], int]
) -> Iterator[None]:
    """Put concepts and beginnings of versions into the workspace for the length of a block."""
    rows = [
        ConceptRow(
            *(
                concept.passage,
                concept.name,
                "other",
                "[]",
                concept.confidence,
                concept.model,
                concept.label,
            ),
            evidence=None,
            created_at=BEGAN + timedelta(hours=concept.at),
        )
        for concept in concepts
    ]
    with ws.store.write() as tx:
        table.add_concepts(tx, shape(ws), rows)
        for number, ((label, model), hours) in enumerate(begun.items(), 1):
            of = BATCH | {"task": table.TASK, "extractor": f"{label}/{model}"}
            batches.add_batch(tx, now=BEGAN + timedelta(hours=hours), number=number, **of)
    try:
        yield
    finally:
        with ws.store.write() as tx:
            tx.exec_driver_sql("DELETE FROM passage_concepts")
            tx.exec_driver_sql("DELETE FROM findable_batches")
