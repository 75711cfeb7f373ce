"""`make clean`: remove files, uploads and builds that nothing needs."""

from dataclasses import asdict

import click

from jobs.command import WritingCommand, json_option, open_workspace, read_workspace
from jobs.output import plural, print_json, print_line
from pipeline.ops import clean


@click.command(name="clean", cls=WritingCommand)
@click.option("--dry", is_flag=True, envvar="FINDABLE_DRY", help="Only show what would be removed.")
@json_option
def main(*, dry: bool, as_json: bool) -> None:
    """Remove sealed files, texts of live calls, builds and reports older than KEEP_DAYS, and leftovers.

    People, answers, the accounts of all batches and the index in service stay.
    """
    with (read_workspace if dry else open_workspace)(whole=True) as ws:
        report = clean.run(ws, dry=dry)
    if as_json:
        print_json(asdict(report))
    elif report.nothing:
        print_line(f"nothing to clean: everything unneeded is younger than {report.keep_days:g} days")
    else:
        took = (
            f"{plural(report.files, 'file')} of {plural(len(report.batches), 'batch', 'batches')}",
            f"{report.size:,} bytes",
            plural(report.uploads, "upload"),
            f"the text of {plural(report.live_texts, 'live call')}",
            plural(len(report.builds), "build"),
            f"{plural(len(report.reports), 'file')} of reports",
            f"{plural(len(report.litter), 'left-over')}",
        )
        print_line(f"{'would remove' if dry else 'removed'} {', '.join(took)}")
