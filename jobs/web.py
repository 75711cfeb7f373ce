"""`make web`: the page, on this machine alone."""

import webbrowser

import click

from jobs.command import Command
from jobs.dotenv import read_settings
from jobs.output import Terminal, print_line


@click.command(name="web", cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, envvar="FINDABLE_PORT", help="0: any."
)
@click.option("--no-open", is_flag=True, envvar="FINDABLE_NO_OPEN", help="Open no browser.")
@click.option("--readonly", is_flag=True, envvar="FINDABLE_READONLY", help="Let nothing be changed.")
def main(port: int, *, no_open: bool, readonly: bool) -> None:
    """Serve the page of the workspace on loopback until Ctrl-C; the first line is its address, with the token."""
    from web import serve

    def ready(address: str) -> None:
        """Say where it is, and open it."""
        print_line(address)
        Terminal().say("the page is served on this machine alone; Ctrl-C ends it")
        if not no_open:
            webbrowser.open(address)

    serve.run(read_settings(), port=port, ready=ready, readonly=readonly)
