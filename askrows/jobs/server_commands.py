"""Commands that serve the page of a workspace, and the local engine with Gemini's protocol."""

import contextlib
import webbrowser
from typing import Annotated

from askrows.jobs.command import make_page_commands
from askrows.jobs.exit_codes import listen_on_port
from askrows.jobs.options import NumberParam, Parameter
from askrows.jobs.output import Terminal, log_request, print_line
from askrows.jobs.variables import read_settings
from askrows.pipeline.workspace.open_workspace import check_no_link_leads_out, create_data_folder

Port = Annotated[
    int,
    Parameter("Port to serve on; 0 is any free port.", NumberParam(0, 65535), metavar="PORT"),
]


def web(
    *,
    port: Port = 8765,
    no_open: Annotated[bool, Parameter("Do not open the browser.")] = False,
    readonly: Annotated[bool, Parameter("Forbid all changes on the page.")] = False,
    web_token: Annotated[str, Parameter("", hidden=True)] = "",
) -> None:
    """Serve the workspace as a page until Ctrl-C, and open it in the browser.

    The first printed line is the address with its token. Only this machine can open it. Without
    --readonly, it creates a workspace in a new or empty folder; the page can import a file there.

    ASKROWS_WEB_TOKEN sets the token, for a proxy that adds it. Default: a new token each time.
    """
    # Web frameworks load slowly, and only this command needs them.
    from askrows.web import serve

    terminal = Terminal()

    def announce(address: str) -> None:
        """Print the address, and open a browser there unless the command line forbids it."""
        print_line(address)
        terminal.say("only this machine can open the page; Ctrl-C stops it")
        if not no_open:
            webbrowser.open(address)

    settings = read_settings()
    with contextlib.closing(listen_on_port("web", serve.LOOPBACK, port)) as listening_socket:
        bound_port = listening_socket.getsockname()[1]
        serve.serve_page(
            settings,
            listening_socket,
            access=serve.make_access_rules(bound_port, token=web_token, readonly=readonly),
            on_ready=announce,
            display=terminal,
            page_commands=make_page_commands(),
        )


def emulator(
    *,
    port: Port = 8080,
    host: Annotated[str, Parameter("Address to serve on.", metavar="ADDRESS")] = "127.0.0.1",
) -> None:
    """Serve Gemini's protocol from the local engine until Ctrl-C.

    No model runs and nothing is paid: the answers are made by rules. Files and batches are stored
    in DATA/emulator, and a later start continues them. Prints a line for each request: time,
    method, path, status, milliseconds. A client connects with
    GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:PORT and any key.
    """
    from askrows.emulator.server import serve_until_signal

    workspace_folder = read_settings().data
    check_no_link_leads_out(workspace_folder)
    create_data_folder(workspace_folder)

    serve_until_signal(
        workspace_folder / "emulator",
        listen_on_port("emulator", host, port),
        log=log_request,
        on_ready=_print_client_setup,
    )


def _print_client_setup(url: str) -> None:
    """Print on standard error the address of the local engine, and two lines for a POSIX shell.

    The first line sets the variables for a client of Gemini, the second those for one of OpenAI.
    """
    terminal = Terminal()
    terminal.say(f"the local engine serves Gemini's protocol at {url}; Ctrl-C stops it")
    variables = f"GOOGLE_GEMINI_BASE_URL={url} GEMINI_API_KEY=any"
    terminal.say(f"in another terminal: export {variables}")
    variables = f"OPENAI_BASE_URL={url}/openai/v1 OPENAI_API_KEY=any"
    terminal.say(f"or, in the form of OpenAI's API: export {variables}")
