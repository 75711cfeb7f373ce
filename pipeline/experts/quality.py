"""What the tags are like: the figures, their gates, and samples for a person to read.

Which tags the text of a person does not support is told by a word they share, else by what both mean. By words alone a
tag of another word than the text's is unlike it, by vectors alone none is. So what shares no word with its text is held
against the texts of others, by the local engine's encoder: it runs here, free, and sends nothing anywhere. Tags are in
English, so only texts in English are looked at.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.engine.task import Task
from pipeline.experts import table
from pipeline.gemini import models
from pipeline.gemini.embed import embed_locally
from pipeline.index.tokenizer import terms_of
from pipeline.quality.figures import (
    QualityFigures,
    ReportTable,
    ReservoirSample,
    Sample,
    Value,
    histogram_bars,
    list_values,
    listed,
    reply_values,
    share,
)
from pipeline.quality.measure import cut_text
from pipeline.store import answers, claims
from pipeline.store.database import Connection
from pipeline.tables.cells import list_of, text_of

ENCODER = "findable-local-embedding-1"
WIDTH = 768
ALIKE = (
    0.6  # of the longer of two terms: what they begin with in common, where they are of one root
)
LEAST = 4  # letters of a term that stands within another: `keep` in `beekeep`
NEARER = 0.25  # of the texts of others: where more of them are nearer to a tag, its own does not tell of it
ENGLISH = frozenset(
    {"the", "and", "of", "with", "for", "my", "is", "from", "by", "our", "at", "has", "who", "as"}
)
FEW = 2  # different ones of these words, which a text in English has
SEED = 7
SAMPLES = 30  # for a person to read
EXAMPLES = 20  # rows of a table
LONGEST_BAR = 12  # tags of a person that have a bar of their own
COMMONEST = 10  # tags
READ = 500  # people, chosen by a hash of their ids, whose tags are held against their texts
FEWEST = 50  # people: of fewer no text is read

FIGURES = listed(Path(__file__).with_name("figures.tsv"))


def measure(tx: Connection, task: Task, extractor: str | None) -> QualityFigures:  # noqa: ARG001 - there is one
    """Return what the tags of an extractor are like: label/model, a label with all its models, or None for all tags."""
    condition = table.tagged
    if extractor is not None:
        condition = condition & table.item_id.in_(answers.answered_ids(table.TASK, extractor))
    people = table.people(tx)
    lengths = Counter[int]()
    used = Counter[str]()
    read = ReservoirSample[str](READ, seed=SEED)
    for key, cell in people.cells(tx, ("id", "tags"), condition):
        members = list_of(cell) or []
        lengths[len(members)] += 1
        used.update(members)
        read.offer(str(key), str(key))
    often = sorted(used.items(), key=lambda pair: (-pair[1], pair[0]))
    commonest = {tag for tag, _ in often[:COMMONEST]}
    carrying = sum(
        not commonest.isdisjoint(list_of(cell) or ())
        for (cell,) in people.cells(tx, ("tags",), condition)
    )
    count = lengths.total()
    parked = len(claims.parked_rows(tx, table.TASK))
    texts = _in_english(tx, list(read)) if count >= FEWEST else []
    unlike = Counter(_unsupported(texts))
    judged = sum(len(tags) for _, tags in texts)
    values: dict[str, Value] = {
        **list_values("tags", lengths),
        "used-once": (share(sum(times == 1 for times in used.values()), len(used)), count),
        "commonest": (share(carrying, count), count),
        "at-minimum": (share(lengths[1], count), count),
        "unlike-text": (share(unlike.total(), judged), len(texts)),
        "longest-tag": (max(map(len, used), default=None), count),
        "parked": (share(parked, count + parked), count + parked),
        "people": (count, count),
        "different-tags": (len(used), count),
        **reply_values(answers.count_replies(tx, table.TASK, extractor)),
    }
    long = sorted(used.items(), key=lambda pair: (-len(pair[0]), pair[0]))[: EXAMPLES // 4]
    strange = sorted(unlike.items(), key=lambda pair: (-pair[1], pair[0]))[:EXAMPLES]
    return QualityFigures(
        title="Quality of the tags of people",
        extractor=extractor or "all",
        items=count,
        figures=FIGURES,
        values=values,
        distributions=list(histogram_bars("Tags of a person", "people", lengths, most=LONGEST_BAR)),
        tables=[
            ReportTable("Most used tags", ("tag", "people"), often[:EXAMPLES]),
            ReportTable("Longest tags", ("tag", "people"), long),
            ReportTable("Tags unlike the text", ("tag", "people in the sample"), strange),
        ],
        samples=list(_samples(tx, list(read)[:SAMPLES])),
    )


def _samples(tx: Connection, ids: list[str]) -> Iterator[Sample]:
    rows = table.people(tx).rows(tx, ids, (table.USERNAME, "bio", "tags"))
    for key in ids:
        if key in rows:
            name, bio = (text_of(rows[key][column]) for column in (table.USERNAME, "bio"))
            yield Sample(key, name, cut_text(bio), (), ", ".join(list_of(rows[key]["tags"]) or []))


def _in_english(tx: Connection, ids: list[str]) -> list[tuple[str, Sequence[str]]]:
    """Return what was asked about people with their tags, where the text is in English, as its small words tell."""
    rows = table.people(tx).rows(tx, ids, ("job_title", "bio", "tags")).values()
    found = [
        (f"{text_of(row['job_title'])} {text_of(row['bio'])}", list_of(row["tags"]) or ())
        for row in rows
    ]
    return [one for one in found if len(ENGLISH.intersection(one[0].lower().split())) >= FEW]


def _unsupported(texts: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return the tags that share no term or root with their text, and are nearer to many of the others than to it."""
    strange = [
        (place, tag)
        for place, (text, tags) in enumerate(texts)
        for terms in [set(terms_of(text))]
        for tag in tags
        if not any(
            term in terms or any(_are_alike(term, one) for one in terms) for term in terms_of(tag)
        )
    ]
    if not strange:
        return []
    model = models.load_models(None)[ENCODER]
    wide, brief = (
        embed_locally(model, some, dim=WIDTH, query=True)
        for some in ([text for text, _ in texts], [tag for _, tag in strange])
    )
    likeness = brief @ wide.T
    mine = likeness[range(len(strange)), [place for place, _ in strange]]
    nearer = (likeness > mine[:, None]).mean(
        axis=1
    )  # the share of texts that are nearer than a tag's own
    return [tag for (_, tag), others in zip(strange, nearer, strict=True) if others > NEARER]


def _are_alike(one: str, other: str) -> bool:
    if len(other) >= LEAST and other in one:
        return True
    pairs = enumerate(zip(one, other, strict=False))
    same = next(
        (place for place, (here, there) in pairs if here != there), min(len(one), len(other))
    )
    return same > LEAST and same >= ALIKE * max(len(one), len(other))
