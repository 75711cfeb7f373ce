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
@click.option("--host", default="", envvar="FINDABLE_HOST", help="Another address than loopback; needs a password.")
@click.option("--names", default="", envvar="FINDABLE_NAMES", metavar="NAME,…", help="Names the page is reached by.")
@click.option("--web-password", default="", hidden=True, envvar="FINDABLE_WEB_PASSWORD")
@click.option("--proxy-header", default="", envvar="FINDABLE_PROXY_HEADER", help="In which a proxy says who reads.")
@click.option("--proxy-from", default="", envvar="FINDABLE_PROXY_FROM", metavar="ADDRESS,…", help="Of that proxy.")
def main(
    *,
    port: int,
    no_open: bool,
    readonly: bool,
    host: str,
    names: str,
    web_password: str,
    proxy_header: str,
    proxy_from: str,
) -> None:
    """Serve the page of the workspace until Ctrl-C; the first line is its address, with the token.

    In a folder that is new or empty it makes a workspace, for a file to be imported on the page.
    It is served on this machine alone. Another host needs FINDABLE_WEB_PASSWORD, or a proxy that says who reads.
    """
    from web import serve

    def ready(address: str, once: str) -> None:
        """Say where it is, and open it; other users of the machine may see what a browser is started with."""
        print_line(address)
        Terminal().say(f"the page is served on {host or 'this machine alone'}; Ctrl-C ends it")
        if not no_open:
            webbrowser.open(once)

    outside = serve.Outside(host or serve.LOOPBACK, _listed(names), web_password, proxy_header, _listed(proxy_from))
    serve.run(read_settings(), port=port, ready=ready, readonly=readonly, outside=outside, display=Terminal())


def _listed(names: str) -> tuple[str, ...]:
    return tuple(filter(None, (one.strip() for one in names.split(","))))
