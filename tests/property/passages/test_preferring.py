"""The query of the best concepts compared with plain Python, and the view with the query."""

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

FIRST_BATCH_AT = datetime(2026, 1, 1, tzinfo=UTC)
# The last version has no batch.
LABELS = ("v@1", "v@2", "o'clock %(x)s :y", "foreign")
MODELS = ("m", "n/x")
NAMES = ("water law", "Water Law", "土")
CONFIDENCES = (0.5, 0.69999, 0.7, 0.9, 1.0)


class StoredConcept(NamedTuple):
    """A stored concept; its creation time is in hours."""

    passage: str
    name: str
    confidence: float
    label: str
    model: str
    created_hours: int


CONCEPTS = st.lists(
    st.builds(
        StoredConcept,
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
# Hours after the first batch.
BATCH_HOURS = st.integers(0, 3)
BATCHES = st.fixed_dictionaries(
    {(label, "m"): BATCH_HOURS for label in LABELS[:2]},
    optional={("v@1", "n/x"): BATCH_HOURS, (LABELS[2], "m"): BATCH_HOURS},
)
# Only the version decides between these concepts.
EQUAL_CONCEPTS = [StoredConcept("p", "water law", 0.9, label, "m", 0) for label in LABELS]


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceSession]:
    """Open a workspace with two passages."""
    with workspace(tmp_path_factory.mktemp("preferring")) as ws:
        tables_shape = shape(ws)
        with ws.store.write() as tx:
            passage = {"text": "some text", "source": None, "metadata": None}
            table.store_passages(tx, tables_shape, [{"id": key, **passage} for key in ("p", "q")])
        yield ws


@pytest.mark.full
@settings(
    max_examples=settings().max_examples // (5 if ON_POSTGRESQL else 2),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(concepts=CONCEPTS, preference=PREFERENCES, batch_hours=BATCHES)
@example(
    concepts=EQUAL_CONCEPTS,
    preference=Settings(task="passages", min_confidence=0.7),
    batch_hours={(LABELS[0], "m"): 0, (LABELS[1], "m"): 3},
)
@example(
    concepts=EQUAL_CONCEPTS,
    preference=Settings(task="passages", min_confidence=0.7),
    batch_hours={(LABELS[0], "m"): 3, (LABELS[1], "m"): 0},
)
@example(
    concepts=EQUAL_CONCEPTS,
    preference=Settings(task="passages", prefer_versions=LABELS[2:3]),
    batch_hours={(LABELS[0], "m"): 3},
)
def test_the_best_concepts_are_those_that_python_chooses(
    ws: WorkspaceSession,
    concepts: Sequence[StoredConcept],
    preference: Settings,
    batch_hours: dict[tuple[str, str], int],
) -> None:
    """The first concept by preference is chosen for each name, regardless of case."""
    with store_concepts(ws, concepts, batch_hours):
        expected = choose_concepts(concepts, preference, batch_hours)
        tables_shape = shape(ws)
        with ws.store.read() as tx:
            assert (
                sorted(map(comparable_row, table.read_best_concepts(tx, tables_shape, preference)))
                == expected
            )
        with ws.store.write() as tx:
            assert table.TABLES.adopt(tx, preference) == []
        with ws.store.read() as tx:
            assert table.TABLES.is_adopted(tx, preference)
            query = f"SELECT {', '.join(COLUMNS)} FROM best_concepts"  # noqa: S608 - our view
            view_rows = tx.exec_driver_sql(query).all()
            assert sorted(comparable_row(ConceptRow(*row)) for row in view_rows) == expected
            all_concepts = sorted(map(comparable_row, table.iterate_concepts(tx, tables_shape)))
        assert all_concepts == sorted(map(comparable_concept, concepts))


def choose_concepts(
    concepts: Sequence[StoredConcept], preference: Settings, batch_hours: dict[tuple[str, str], int]
) -> list[tuple[Any, ...]]:
    """Return the best concepts by the definition of the setting."""
    labels = preference.prefer_versions or ()

    def sort_key(pair: tuple[int, StoredConcept]) -> tuple[Any, ...]:
        number, concept = pair
        rank = labels.index(concept.label) if concept.label in labels else len(labels)
        started_hours = batch_hours.get((concept.label, concept.model))
        return (
            rank,
            started_hours is None,
            -(started_hours or 0),
            -concept.created_hours,
            -concept.confidence,
            number,
        )

    best: dict[tuple[str, str], StoredConcept] = {}
    for _, concept in sorted(enumerate(concepts), key=sort_key):
        if concept.confidence >= preference.min_confidence:
            best.setdefault((concept.passage, concept.name.lower()), concept)
    return sorted(map(comparable_concept, best.values()))


def comparable_row(concept_row: ConceptRow) -> tuple[Any, ...]:
    """Return a concept from the database as a sortable tuple."""
    return (
        concept_row.passage_id,
        concept_row.concept_name,
        concept_row.extractor_version,
        concept_row.extractor_model,
        float(concept_row.confidence),
    )


def comparable_concept(concept: StoredConcept) -> tuple[Any, ...]:
    """Return a drawn concept as the same tuple."""
    return (concept.passage, concept.name, concept.label, concept.model, concept.confidence)


@contextmanager
def store_concepts(
    ws: WorkspaceSession, concepts: Sequence[StoredConcept], batch_hours: dict[tuple[str, str], int]
) -> Iterator[None]:
    """Store concepts and batches of versions during a block."""
    rows = [
        ConceptRow(
            concept.passage,
            concept.name,
            "other",
            "[]",
            concept.confidence,
            concept.model,
            concept.label,
            evidence=None,
            created_at=FIRST_BATCH_AT + timedelta(hours=concept.created_hours),
        )
        for concept in concepts
    ]
    with ws.store.write() as tx:
        table.add_concepts(tx, shape(ws), rows)
        for number, ((label, model), hours) in enumerate(batch_hours.items(), 1):
            batch_columns = BATCH | {"task": table.TASK, "extractor": f"{label}/{model}"}
            batches.add_batch(
                tx, now=FIRST_BATCH_AT + timedelta(hours=hours), number=number, **batch_columns
            )
    try:
        yield
    finally:
        with ws.store.write() as tx:
            tx.exec_driver_sql("DELETE FROM passage_concepts")
            tx.exec_driver_sql("DELETE FROM findable_batches")
