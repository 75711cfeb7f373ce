"""`findable settings`: list what was set, or every setting, with its value and where that came from."""

import click

from jobs.command import Command, json_option
from jobs.dotenv import read_settings
from jobs.output import Terminal, print_json, print_table
from pipeline.core.settings import settings_rows, with_unit

HEADERS = ("setting", "value", "from", "what it is")


@click.command(name="settings", cls=Command)
@click.option("--all", "everything", is_flag=True, envvar="FINDABLE_ALL", help="Those with their default value, too.")
@json_option
def main(*, everything: bool, as_json: bool) -> None:
    """Print every setting that was changed, its value, and where it came from; keys are masked.

    --json prints all of them.
    """
    found = settings_rows(read_settings())
    if as_json:
        print_json([one._asdict() for one in found])
        return
    shown = [one for one in found if everything or one.source != "default"]
    if shown:
        print_table(HEADERS, [(one.name, with_unit(one.value, one.unit), one.source, one.help) for one in shown])
    if left := len(found) - len(shown):
        Terminal().say(f"{left} {'others ' if shown else ''}have their defaults: `make settings ALL=1`")
