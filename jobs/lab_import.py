"""`make lab-import QUERIES=queries.jsonl QRELS=qrels.tsv`: questions and judgements into the test lab."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.lab import check_given, judge_option, qrels_option, queries_option, warn_left_out
from jobs.output import plural, print_json, print_line
from pipeline.core.who import this_person
from pipeline.index.lab import import_


@click.command(name="lab-import", cls=WritingCommand)
@queries_option
@qrels_option
@judge_option
@json_option
def main(queries: Path | None, qrels: Path | None, *, judge: str | None, as_json: bool) -> None:
    """Bring questions and judgements of people, or of TASK, into the test lab, all or nothing.

    QUERIES are JSON lines of qid, text, and if you like type and language; QRELS are TREC lines `qid 0 name grade`, or
    JSON lines of qid, name, grade, judge, at. What is there already stays; another text or grade takes its place.
    """
    check_given(queries, qrels)
    with open_workspace() as ws:
        names = {"queries": queries, "qrels": qrels}
        report = import_.run(ws.store, ws.task, **names, judge=judge or this_person(), at=ws.now())
        words = ws.task.words
    for count, kind in ((report.questions, "question"), (report.judgements, "judgement")):
        if any(count) and not as_json:
            print_line(f"{plural(count.new, f'new {kind}')}, {count.changed:,} changed, {count.same:,} as they were")
    warn_left_out(report.gone, f"{words.many} that are not here")
    warn_left_out(report.unasked, "questions that are not here")
    if as_json:
        counts = {"questions": report.questions._asdict(), "judgements": report.judgements._asdict()}
        print_json({**asdict(report), **counts})
    else:
        print_line(f"Next: {words.make('lab-run')}")
