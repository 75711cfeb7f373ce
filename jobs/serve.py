"""Serve the page, or Gemini's protocol from the local engine to any client."""

import os
import shlex
import webbrowser

import click

from jobs.command import Command
from jobs.demo import SAMPLE
from jobs.output import Terminal, print_line, print_request
from jobs.values import Count
from jobs.variables import read_settings
from pipeline.core.errors import ConfigurationError
from pipeline.engine.folder import check_links, make_directory


@click.command(name="web", cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, envvar="FINDABLE_PORT", help="0: any."
)
@click.option("--no-open", is_flag=True, envvar="FINDABLE_NO_OPEN", help="Open no browser.")
@click.option("--readonly", is_flag=True, envvar="FINDABLE_READONLY", help="Let nothing be changed.")
@click.option("--web-token", default="", hidden=True, envvar="FINDABLE_WEB_TOKEN")
def serve_page(*, port: int, no_open: bool, readonly: bool, web_token: str) -> None:
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


@click.command(name="emulator", cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, envvar="FINDABLE_PORT", help="0: any."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option("--rpm", type=Count(min=0), envvar="FINDABLE_RPM", help="Requests a minute, per model.")
@click.option("--tpm", type=Count(min=0), envvar="FINDABLE_TPM", help="Input tokens a minute, likewise.")
@click.option("--rpd", type=Count(min=0), envvar="FINDABLE_RPD", help="Requests a Pacific day, likewise.")
def serve_engine(port: int, host: str, rpm: int | None, tpm: int | None, rpd: int | None) -> None:
    """Serve Gemini's protocol from the local engine until Ctrl-C.

    Prints a line for each request: time, method, path, status, milliseconds. A client connects with
    GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:PORT and any key.
    """
    from emulator.server import serve

    asked = {"requests_per_minute": rpm, "input_tokens_per_minute": tpm, "requests_per_day": rpd}
    quota = {name: limit for name, limit in asked.items() if limit is not None}
    data = read_settings().data
    check_links(data)
    make_directory(data)

    def refuse(why: str, is_host: bool) -> None:  # noqa: FBT001 - the engine's signature
        """Refuse an address that cannot be bound, with how to choose another one."""
        another = "--host is an address of this machine, such as 127.0.0.1"
        hint = another if is_host else "name another one, or any that is free: make emulator PORT=0"
        raise ConfigurationError(f"port {port} of {host} cannot be used: {why}", hint=hint)

    serve(data / "emulator", host, port, limits=quota, log=print_request, ready=_say_where, refused=refuse)


def _say_where(url: str) -> None:
    terminal = Terminal()
    terminal.say(f"the local engine serves Gemini's protocol at {url} (Ctrl-C ends it)")
    terminal.say(f"in another terminal: export GOOGLE_GEMINI_BASE_URL={url} GEMINI_API_KEY=any")
    people, place = shlex.quote(os.path.relpath(SAMPLE / "experts.csv")), "DATA=data/rehearsal"
    terminal.hint(f"make import EXPERTS={people} {place} && make tag {place}")
