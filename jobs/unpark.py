"""`findable unpark`: let parked people go again."""

import click

from jobs.command import Command, confirmed, json_option, open_workspace, yes_option
from jobs.output import plural, print_json, print_line
from jobs.values import USERNAME


@click.command(name="unpark", cls=Command)
@click.argument("username", type=USERNAME, required=False, envvar="FINDABLE_EXPERT")
@click.option("--all", "everyone", is_flag=True, envvar="FINDABLE_ALL", help="Everyone who is parked.")
@yes_option
@json_option
def main(username: str | None, *, everyone: bool, yes: bool, as_json: bool) -> None:
    """Let USERNAME, or with --all everyone, be asked again; earlier attempts are forgiven.

    Rows whose tags are somebody else's text stay as they are.
    """
    from pipeline.steps import parked

    with open_workspace() as rt:
        names = parked.let_go(
            rt, username=username, everyone=everyone, confirm=lambda question: confirmed(question, yes=yes)
        )
    line = (
        f"{plural(len(names), 'person', 'people')} can be asked again. Next: make batch-submit"
        if names
        else "nobody to let go"
    )
    print_json({"unparked": names}) if as_json else print_line(line)
