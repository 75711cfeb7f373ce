"""`make web`: serve the page."""

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
@click.option("--web-token", default="", hidden=True, envvar="FINDABLE_WEB_TOKEN")
def main(*, port: int, no_open: bool, readonly: bool, web_token: str) -> None:
    """Serve the page of the workspace until Ctrl-C; the first line is its address, with the token.

    In a folder that is new or empty it makes a workspace, for a file to be imported on the page. It is served on this
    machine alone; FINDABLE_WEB_TOKEN is the token in the place of a new one each time, for a proxy that adds it.
    """
    from web import serve

    def ready(address: str) -> None:
        """Say where it is, and open it."""
        print_line(address)
        Terminal().say("the page is served on this machine alone; Ctrl-C ends it")
        if not no_open:
            webbrowser.open(address)

    serve.run(read_settings(), port=port, ready=ready, readonly=readonly, token=web_token, display=Terminal())
