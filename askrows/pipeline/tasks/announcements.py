"""Notices to a person: which backend works, and the first upload of rows."""

from typing import TYPE_CHECKING

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.report import PLACEHOLDER_NOTE
from askrows.pipeline.provider.service import Service
from askrows.pipeline.store import request_history
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

if TYPE_CHECKING:
    from askrows.pipeline.provider.port import ProviderClient


def open_client(workspace: OpenWorkspace, service: Service, task: Task) -> "ProviderClient":
    """Check the access to the backend, print once which backend works, and return its client.

    Raises:
        ConfigurationError: As `Service.client`.
    """
    service.check_key_and_confirm_address()
    announce_backend_once(workspace, service, task)
    return service.client


def announce_backend_once(workspace: OpenWorkspace, service: Service, task: Task) -> None:
    """Print, once per service, which backend works; further calls print nothing.

    For a provider, the line says that rows leave this machine. It is printed only before the first
    upload (see `make_first_upload_notice`). For the local engine, it says that answers are
    placeholders and why no provider is used. Nothing is printed if the setting BACKEND chose the
    local engine.
    """
    if service.is_announced:
        return

    service.is_announced = True
    settings = workspace.settings
    message = ""
    if workspace.backend != "local":
        message = make_first_upload_notice(workspace, task)
    elif settings.backend is None and (settings.api_key or settings.openai_key):
        message = (
            "this workspace is bound to the local engine (placeholder results); "
            "the API key is not used"
        )
    elif settings.backend is None:
        message = (
            "no API key is set: the local engine makes placeholder results; "
            "nothing leaves this machine"
        )
    if message:
        workspace.display.say(message)


def announce_placeholders(workspace: OpenWorkspace, service: Service, task: Task) -> None:
    """Print which backend works and that its answers are placeholders, if they are."""
    if workspace.has_placeholder_answers:
        announce_backend_once(workspace, service, task)
        workspace.display.say(PLACEHOLDER_NOTE)


def make_first_upload_notice(workspace: OpenWorkspace, task: Task) -> str:
    """Return the notice that the next request uploads rows or images for the first time, or "".

    It is "" with the local engine. It is also "" if the workspace is bound to a provider, because
    rows were uploaded before; but a task with images gets the notice until its first request.
    """
    if workspace.backend == "local":
        return ""

    if workspace.is_bound():
        if not task.record.image_columns:
            return ""
        if workspace.store.query(request_history.has_sent_request, task.name):
            return ""

    provider = workspace.provider
    base_url = workspace.settings.find_address_of_backend(workspace.backend)
    service = f"{provider.name} at {base_url}" if base_url else provider.name_with_company
    settings = workspace.settings
    choice = ""
    if settings.backend is None and settings.api_key and settings.openai_key:
        choice = f" (both keys are set; {OptionHint('backend')} names the other provider)"
    return f"{task.nouns.inputs_noun} leave this machine from now on: they go to {service}{choice}"
