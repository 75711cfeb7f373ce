"""Write down what a run of the lab measured: Markdown with pictures for a person, a document and runs for programs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.core.text import escape_markdown, markdown_name
from pipeline.index.lab.interval_plot import interval_plot
from pipeline.index.lab.intervals import LEVEL, Comparison, Estimate
from pipeline.index.lab.measures import JUDGED, MAIN
from pipeline.index.lab.run import Group, LabReport
from pipeline.store.lab import LabQuestion

SHOWN = (MAIN, "MRR", "P@5", "R@10", "R@100", JUDGED)
TOP = 10  # of each list
MOST = 5  # questions that were won, and lost, that are shown
MOST_NAME = 40  # characters


class Duel(NamedTuple):
    """One question on which two variants differ: by how much, and the first names of each with their grades."""

    question: LabQuestion
    difference: float
    ours: Sequence[tuple[str, int | None]]
    theirs: Sequence[tuple[str, int | None]]


def duels(report: LabReport, variant: str) -> list[Duel]:
    """Return the questions on which a variant differs from the first one, its wins first."""
    first = report.variants[0]
    differences = report.values[variant][MAIN] - report.values[first][MAIN]
    found = [
        Duel(one, float(difference), _top(report, variant, one.qid), _top(report, first, one.qid))
        for one, difference in zip(report.judged.questions, differences, strict=True)
        if difference
    ]
    return sorted(found, key=lambda one: (-one.difference, one.question.qid))


def lab_document(report: LabReport) -> dict[str, Any]:
    """Return all figures for programs, question by question too."""
    return {
        "build": {"number": report.build.number, "count": report.build.count, "model": report.build.model},
        "questions": len(report.judged.questions),
        "gone": report.judged.gone,
        "seed": report.seed,
        "variants": report.variants,
        "groups": [_group(report, group) for group in report.groups],
        "by_question": [
            {**one._asdict(), **{name: _rounded(report, name, at) for name in report.variants}}
            for at, one in enumerate(report.judged.questions)
        ],
    }


def lab_markdown(report: LabReport, *, task: str, pictures: Sequence[str]) -> str:
    """Return the report for a person; `pictures` are the names of the files of `lab_pictures`."""
    lines = list(_head(report, task))
    lines += [f"![{MAIN}]({name})\n" for name in pictures]
    for group in report.groups:
        lines += _table(report, group)
    for variant in report.variants[1:]:
        lines += _won_and_lost(report, variant)
    return "\n".join(lines) + "\n"


def lab_pictures(report: LabReport) -> list[str]:
    """Return as SVG the main measure of each variant with its interval, a picture for each group of questions."""
    return [
        interval_plot(
            f"{MAIN}, {group.name} ({len(group.places)} questions)",
            {name: report.estimates(name, group)[MAIN] for name in report.variants},
        )
        for group in report.groups
    ]


def run_lines(report: LabReport, variant: str) -> Iterator[bytes]:
    """Yield the rankings of a variant as TREC has them, with white space in names as underscores."""
    tag = "_".join(variant.split())
    for qid, names in report.rankings[variant].items():
        for rank, name in enumerate(names, start=1):
            yield f"{'_'.join(qid.split())} Q0 {'_'.join(name.split())} {rank} {1 / rank:.6f} {tag}\n".encode()


def estimate_cell(found: Estimate) -> str:
    """Return a mean with its interval."""
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def comparison_line(variant: str, first: str, found: Comparison) -> str:
    """Return in words how a variant compares with the first one."""
    mean, low, high = found.difference
    won = f"{found.wins:,} won, {found.losses:,} lost, {found.ties:,} alike"
    return f"{variant} beside {first}: {MAIN} {mean:+.3f} [{low:+.3f}, {high:+.3f}], {_chance(found.p)}; {won}"


def _chance(p: float) -> str:
    return f"p {p:.3f}" if p >= 0.001 else "p < 0.001"  # noqa: PLR2004 - three digits


def _top(report: LabReport, variant: str, qid: str) -> list[tuple[str, int | None]]:
    grades: Mapping[str, int] = report.judged.grades[qid]
    return [(name, grades.get(name)) for name in report.rankings[variant].get(qid, ())[:TOP]]


def _group(report: LabReport, group: Group) -> dict[str, Any]:
    """Return one group's figures."""
    variants = [
        {"name": name, "figures": {key: found._asdict() for key, found in report.estimates(name, group).items()}}
        for name in report.variants
    ]
    compared = [
        {"name": name, **found._asdict(), "difference": found.difference._asdict()}
        for name, found in report.comparisons(group)
    ]
    return {
        "kind": group.kind,
        "name": group.name,
        "queries": len(group.places),
        "variants": variants,
        "beside_the_first": compared,
    }


def _rounded(report: LabReport, variant: str, at: int) -> dict[str, float]:
    return {measure: round(float(values[at]), 6) for measure, values in report.values[variant].items()}


def _head(report: LabReport, task: str) -> Iterator[str]:
    """Yield what was measured, and how to read it."""
    build, judged = report.build, report.judged
    yield f"# Search of {escape_markdown(task)}: {', '.join(map(escape_markdown, report.variants))}\n"
    yield f"Build {build.number}: {build.count:,} entries, {escape_markdown(build.model)}, {build.dim} wide."
    gone = f" Left out: judgements of {judged.gone:,} items that are not here any more." if judged.gone else ""
    yield f"{len(judged.questions):,} judged questions; in brackets {LEVEL:g} % intervals (bootstrap).{gone}\n"
    yield f"Not all is judged: {JUDGED} is the share of the first ten that is. Compare variants only.\n"


def _table(report: LabReport, group: Group) -> Iterator[str]:
    """Yield the figures of one group."""
    yield f"## {escape_markdown(group.name)}, {len(group.places):,} questions\n"
    yield f"| variant | {' | '.join(SHOWN)} |"
    yield f"| --- |{' ---: |' * len(SHOWN)}"
    for name in report.variants:
        found = report.estimates(name, group)
        yield f"| {escape_markdown(name)} | {' | '.join(estimate_cell(found[one]) for one in SHOWN)} |"
    yield ""
    for name, compared in report.comparisons(group):
        yield f"- {escape_markdown(comparison_line(name, report.variants[0], compared))}"
    yield ""


def _won_and_lost(report: LabReport, variant: str) -> Iterator[str]:
    """Yield the questions on which a variant differs most from the first one, with both lists."""
    found, first = duels(report, variant), report.variants[0]
    won, lost = [one for one in found if one.difference > 0], [one for one in found[::-1] if one.difference < 0]
    for some, word in ((won, "won"), (lost, "lost")):
        if some:
            yield f"## Questions that {escape_markdown(variant)} {word}: {min(len(some), MOST)} of {len(some):,}\n"
        for one in some[:MOST]:
            yield f"### {escape_markdown(one.question.text, most=200)} ({one.difference:+.3f})\n"
            yield f"- {escape_markdown(variant)}: {_listed(one.ours)}"
            yield f"- {escape_markdown(first)}: {_listed(one.theirs)}\n"


def _listed(top: Sequence[tuple[str, int | None]]) -> str:
    """Return names with their grades; a question mark stands for what was not judged."""
    shown = (f"{markdown_name(name, most=MOST_NAME)} {'?' if grade is None else grade}" for name, grade in top)
    return ", ".join(shown) or "nothing"
