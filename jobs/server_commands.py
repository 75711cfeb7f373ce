"""Commands that serve the page of a workspace, and the local engine with Gemini's protocol."""

import os
import webbrowser
from typing import Annotated

import click

from jobs.command import page_commands
from jobs.demo import SAMPLE_DATA_FOLDER
from jobs.exit_codes import listen_on_port
from jobs.options import CountParam, Parameter
from jobs.output import Terminal, print_line, print_request
from jobs.variables import read_settings
from pipeline.core.command_hint import CommandHint
from pipeline.engine.workspace_folder import check_links, make_directory

Port = Annotated[int, Parameter("0: any.", click.IntRange(0, 65535))]


def web(
    *,
    port: Port = 8765,
    no_open: Annotated[bool, Parameter("Open no browser.")] = False,
    readonly: Annotated[bool, Parameter("Let nothing be changed.")] = False,
    web_token: Annotated[str, Parameter("", hidden=True)] = "",
) -> None:
    """Serve the page of the workspace until Ctrl-C; the first line is its address, with the token.

    In a folder that is new or empty it makes a workspace, for a file to be imported on the page. It is served on this
    machine alone; FINDABLE_WEB_TOKEN is the token in the place of a new one each time, for a proxy that adds it.
    """
    # Web frameworks load slowly, and only this command needs them.
    from web import serve

    terminal = Terminal()

    def announce(address: str) -> None:
        """Print the address, and open a browser there unless the command line forbids it."""
        print_line(address)
        terminal.say("the page is served on this machine alone; Ctrl-C ends it")
        if not no_open:
            webbrowser.open(address)

    settings = read_settings()
    listening_socket = listen_on_port("web", serve.LOOPBACK, port)
    serve.serve_page(
        settings,
        listening_socket,
        on_ready=announce,
        readonly=readonly,
        token=web_token,
        display=terminal,
        page_commands=page_commands(),
    )


def emulator(
    *,
    port: Port = 8080,
    host: Annotated[str, Parameter("Address to bind to.")] = "127.0.0.1",
    rpm: Annotated[
        int | None,
        Parameter("Requests a minute, per model.", CountParam(min=0)),
    ] = None,
    tpm: Annotated[
        int | None,
        Parameter("Input tokens a minute, likewise.", CountParam(min=0)),
    ] = None,
    rpd: Annotated[
        int | None,
        Parameter("Requests a Pacific day, likewise.", CountParam(min=0)),
    ] = None,
) -> None:
    """Serve Gemini's protocol from the local engine until Ctrl-C.

    Prints a line for each request: time, method, path, status, milliseconds. A client connects with
    GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:PORT and any key.
    """
    from emulator.server import serve

    workspace_folder = read_settings().data
    check_links(workspace_folder)
    make_directory(workspace_folder)

    # The local engine has a default for each limit that was not typed.
    limits = {"rpm": rpm, "tpm": tpm, "rpd": rpd}
    typed_limits = {name: limit for name, limit in limits.items() if limit is not None}
    serve(
        workspace_folder / "emulator",
        listen_on_port("emulator", host, port),
        limits=typed_limits,
        log=print_request,
        on_ready=_print_client_setup,
    )


def _print_client_setup(url: str) -> None:
    """Print on standard error the address of the local engine, and commands that use it."""
    terminal = Terminal()
    terminal.say(f"the local engine serves Gemini's protocol at {url} (Ctrl-C ends it)")
    variables = f"GOOGLE_GEMINI_BASE_URL={url} FINDABLE_TRUST={url} GEMINI_API_KEY=any"
    terminal.say(f"in another terminal: export {variables}")

    # A workspace of its own keeps rehearsals out of the user's workspace.
    rehearsal_folder = "data/rehearsal"
    sample_file = os.path.relpath(SAMPLE_DATA_FOLDER / "experts.csv")
    import_command = CommandHint("import", experts=sample_file, data=rehearsal_folder)
    tag_command = CommandHint("tag", data=rehearsal_folder)
    terminal.hint(f"{import_command} && {tag_command}")
