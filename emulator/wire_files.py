"""The routes of files: uploads in chunks, lists, downloads, deletes."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from emulator.errors import invalid
from emulator.files import Upload, document
from emulator.gate import note
from emulator.replies import JsonReply, api, owner_of, page_of, page_shown, read_body, world_of

_GRANULARITY = "262144"
"""What Google says of chunk sizes (bytes); nothing here depends on it."""


def _base_url(request: Request) -> str:
    """Return where the client reached this server, up to and with the version."""
    return f"http://{request.headers.get('host', 'localhost')}/{request.path_params['version']}"


@api
async def _upload(request: Request) -> Response:
    """Begin an upload, or take a chunk of one."""
    commands = {word.strip() for word in request.headers.get("x-goog-upload-command", "").split(",")}
    if "upload_id" in request.query_params:
        return await _chunk(request, commands)
    owner = owner_of(request)
    if commands != {"start"}:
        raise invalid(f"Expected X-Goog-Upload-Command: start, found {', '.join(sorted(commands))!r}.")
    described = (await read_body(request, "StartUpload")).get("file", {})
    declared = request.headers.get("x-goog-upload-header-content-length", "")
    upload_id = await run_in_threadpool(
        world_of(request).files.start,
        owner,
        described=described,
        declared=int(declared) if declared.isdigit() else None,
        mime_type=request.headers.get("x-goog-upload-header-content-type", ""),
    )
    host, version = request.headers.get("host", "localhost"), request.path_params["version"]
    headers = {
        "X-Goog-Upload-URL": f"http://{host}/upload/{version}/files?upload_id={upload_id}&upload_protocol=resumable",
        "X-Goog-Upload-Status": "active",
        "X-Goog-Upload-Chunk-Granularity": _GRANULARITY,
    }
    return JsonReply({}, headers=headers)


async def _chunk(request: Request, commands: set[str]) -> Response:
    """Take a chunk of an upload, end it, tell where it stands, or forget it."""
    files = world_of(request).files
    upload = await run_in_threadpool(files.upload, request.query_params["upload_id"])
    if not commands or not commands <= {"upload", "finalize", "query", "cancel"}:
        raise invalid(f"Unknown X-Goog-Upload-Command {', '.join(sorted(commands))!r}.")
    if "cancel" in commands:
        await run_in_threadpool(files.cancel, upload)
        return JsonReply({}, headers={"X-Goog-Upload-Status": "cancelled"})
    struck = _fire(request, "upload") if "upload" in commands else {}
    if "upload" in commands:
        upload = await files.receive(upload, _body(request), offset=_offset(request), lose="chunk_lost" in struck)
    if "finalize" in commands or "early_final" in struck:
        return await _finalize(request, upload, early="early_final" in struck)
    seen = upload.received + upload.lost
    headers = {"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(seen)}
    return JsonReply({}, status_code=503 if "chunk_lost" in struck else 200, headers=headers)


def _offset(request: Request) -> int:
    """Return where a chunk begins (bytes)."""
    offset = request.headers.get("x-goog-upload-offset", "0")
    if not offset.isdigit():
        raise invalid(f"Invalid X-Goog-Upload-Offset {offset!r}.")
    return int(offset)


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece


async def _finalize(request: Request, upload: Upload, *, early: bool) -> Response:
    """Make an upload a file and answer it."""
    files = world_of(request).files
    words = _fire(request, "file")
    state = "FAILED" if "file_failed" in words else "ACTIVE"
    looks = int(words["file_processing"].get("looks", 2)) if "file_processing" in words else 0
    file = await run_in_threadpool(files.finalize, upload, state=state, looks=looks, early=early)
    if "file_expired" in words:
        await run_in_threadpool(files.expire, file.id)
    shown = {"file": document(file, base_url=_base_url(request))}
    return JsonReply(
        shown, headers={"X-Goog-Upload-Status": "final", "X-Goog-Upload-Size-Received": str(upload.received)}
    )


def _fire(request: Request, place: str) -> dict[str, Mapping[str, Any]]:
    """Return the words and arguments of the faults that strike this request at `place`, noted in the journal."""
    struck = world_of(request).faults.firing(place, request.method, target=request.state.target)
    note(request.state.entry, struck)
    return {fault.word: fault.args for fault in struck}


@api
async def _list_files(request: Request) -> Response:
    owner = owner_of(request)
    size, before = page_of(request, default=10, most=100)
    files = await run_in_threadpool(world_of(request).files.page, owner, size=size + 1, before=before)
    base_url = _base_url(request)
    shown = page_shown(
        "files", files, size=size, show=lambda file: document(file, base_url=base_url), token=lambda file: file.number
    )
    return JsonReply(shown)


@api
async def _get_file(request: Request) -> Response:
    """Answer a file resource, or the bytes of a generated file."""
    name = request.path_params["name"]
    owner = owner_of(request)
    files = world_of(request).files
    if name.endswith(":download"):
        path = await run_in_threadpool(files.download, owner, name.removesuffix(":download"))
        return FileResponse(path, media_type="application/octet-stream")
    file = await run_in_threadpool(files.get, owner, name)
    return JsonReply(document(file, base_url=_base_url(request)))


@api
async def _delete_file(request: Request) -> Response:
    await run_in_threadpool(world_of(request).files.delete, owner_of(request), request.path_params["name"])
    return JsonReply({})


ROUTES = [
    Route("/upload/{version}/files", _upload, methods=["POST"]),
    Route("/download/{version}/files/{name}", _get_file, methods=["GET"]),
    Route("/{version}/files", _list_files, methods=["GET"]),
    Route("/{version}/files/{name}", _get_file, methods=["GET"]),
    Route("/{version}/files/{name}", _delete_file, methods=["DELETE"]),
]
"""All paths of files."""
