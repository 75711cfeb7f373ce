"""`findable settings`: list every setting, its value, and where it came from."""

import click

from jobs.command import Command, json_option
from jobs.dotenv import read_settings
from jobs.output import print_json, print_table
from pipeline.core.settings import settings_rows


@click.command(name="settings", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Print every setting, its value, and where it came from; keys are masked."""
    found = settings_rows(read_settings())
    if as_json:
        print_json(
            [{"name": name, "value": value, "source": source, "help": text} for name, value, source, text in found]
        )
    else:
        print_table(("setting", "value", "from", "what it is"), found)
