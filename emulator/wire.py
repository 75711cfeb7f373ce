"""The routes of the API: what each path takes and answers. Behaviour is behind `World`.

The same paths are served for v1, v1beta and v1alpha. A key is required everywhere but on upload sessions, whose URL is
the credential; any key that is not empty will do, and what was made with one is not seen with another.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from emulator import catalogue, control, embed, generate
from emulator.batches import Batch
from emulator.control import world_of
from emulator.errors import ApiError, invalid
from emulator.files import Upload, document
from emulator.gate import note
from emulator.replies import JsonReply, api, no_such_path, page_of, read_body, refused
from emulator.results import spoil
from emulator.world import World

_GRANULARITY = "262144"
"""What Google says of chunk sizes (bytes); nothing here depends on it."""


def owner_of(request: Request) -> str:
    """Return who asks: a digest of the key, so that the key itself is nowhere kept.

    Raises:
        ApiError: 403 without a key.
    """
    key = request.headers.get("x-goog-api-key", "") or request.query_params.get("key", "")
    if not key.strip():
        message = "Method doesn't allow unregistered callers (callers without established identity)."
        raise ApiError(403, f"{message} Please use API Key or other form of API consumer identity to call this API.")
    return hashlib.sha256(key.strip().encode()).hexdigest()[:16]


def _base_url(request: Request) -> str:
    """Return where the client reached this server, up to and with the version."""
    return f"http://{request.headers.get('host', 'localhost')}/{request.path_params['version']}"


# --- files ---


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
    struck = _fire(request, "upload") if "upload" in commands else set()
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
    """Yield the bytes of a request as they come."""
    async for piece in request.stream():
        yield piece


async def _finalize(request: Request, upload: Upload, *, early: bool) -> Response:
    """Make an upload a file and answer it."""
    files = world_of(request).files
    struck = world_of(request).faults.firing("file", "POST", request.state.target)
    note(request.state.entry, struck)
    words = {fault.word: fault.args for fault in struck}
    state = "FAILED" if "file_failed" in words else "ACTIVE"
    looks = int(words["file_processing"].get("looks", 2)) if "file_processing" in words else 0
    file = await run_in_threadpool(files.finalize, upload, state=state, looks=looks, early=early)
    if "file_expired" in words:
        await run_in_threadpool(files.expire, file.id)
    shown = {"file": document(file, base_url=_base_url(request))}
    return JsonReply(
        shown, headers={"X-Goog-Upload-Status": "final", "X-Goog-Upload-Size-Received": str(upload.received)}
    )


def _fire(request: Request, place: str) -> set[str]:
    """Return the words of the faults that strike this request at `place`, noted in the journal."""
    struck = world_of(request).faults.firing(place, request.method, request.state.target)
    note(request.state.entry, struck)
    return {fault.word for fault in struck}


@api
async def _list_files(request: Request) -> Response:
    """List files, newest first."""
    owner = owner_of(request)
    size, before = page_of(request, default=10, most=100)
    files = await run_in_threadpool(world_of(request).files.page, owner, size=size + 1, before=before)
    shown: dict[str, Any] = {}
    if files:
        shown["files"] = [document(file, base_url=_base_url(request)) for file in files[:size]]
    if len(files) > size:
        shown["nextPageToken"] = str(files[size - 1].number)
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
    """Delete an uploaded file."""
    await run_in_threadpool(world_of(request).files.delete, owner_of(request), request.path_params["name"])
    return JsonReply({})


# --- models ---


@api
async def _list_models(request: Request) -> Response:
    """List the models there are."""
    owner_of(request)
    size, before = page_of(request, default=50, most=1000)
    models = list(catalogue.MODELS.values())
    start = before or 0
    shown: dict[str, Any] = {"models": [model.document() for model in models[start : start + size]]}
    if start + size < len(models):
        shown["nextPageToken"] = str(start + size)
    return JsonReply(shown)


@api
async def _get_model(request: Request) -> Response:
    """Answer one model resource."""
    owner_of(request)
    name, version = request.path_params["name"], request.path_params["version"]
    return JsonReply(catalogue.find(name, method="countTokens", version=version).document())


@api
async def _call_model(request: Request) -> Response:
    """Answer a method of a model: `models/<name>:<method>`."""
    owner = owner_of(request)
    name, _, method = request.path_params["name"].rpartition(":")
    call = _METHODS.get(method)
    if call is None:
        raise no_such_path(request)
    model = catalogue.find(name, method=method, version=request.path_params["version"])
    return await call(request, owner, model)


async def _generate(request: Request, _owner: str, model: catalogue.Model) -> Response:
    """Answer one request for text."""
    return JsonReply(await _answered(request, model))


async def _stream(request: Request, _owner: str, model: catalogue.Model) -> Response:
    """Answer one request for text as a stream of one event, or as a list of one document without `alt=sse`."""
    answered = await _answered(request, model)
    if request.query_params.get("alt") != "sse":
        return JsonReply([answered])
    data = b"data: " + bytes(JsonReply(answered).body) + b"\r\n\r\n"
    return Response(data, media_type="text/event-stream")


async def _answered(request: Request, model: catalogue.Model) -> dict[str, Any]:
    """Return the answer to a request for text, spoiled where a script says so."""
    body = await read_body(request, "GenerateContentRequest")
    world = world_of(request)
    response = await run_in_threadpool(generate.answer, body, model, seed=world.settings.seed)
    # a fault for certain keys is about lines: a live call has no key
    scripted = world.faults.matching("line", "POST", request.state.target)
    struck = [fault for fault in scripted if not fault.key.pattern and fault.fire()]
    note(request.state.entry, struck)
    for fault in struck:
        for line in spoil([{"response": response}], fault):
            if isinstance(line, dict) and "response" in line:
                response = line["response"]
    return response


async def _count(request: Request, _owner: str, _model: catalogue.Model) -> Response:
    """Count tokens."""
    body = await read_body(request, "CountTokensRequest")
    tokens = generate.count_tokens(body.get("generateContentRequest", body))
    return JsonReply({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})


async def _embed_one(request: Request, _owner: str, model: catalogue.Model) -> Response:
    """Answer one request for a vector."""
    body = await read_body(request, "EmbedContentRequest")
    vectors = await run_in_threadpool(embed.vectors, [body], model)
    return JsonReply({"embedding": {"values": vectors[0]}})


async def _embed_many(request: Request, _owner: str, model: catalogue.Model) -> Response:
    """Answer up to a hundred requests for vectors, one vector for each."""
    requests = (await read_body(request, "BatchEmbedContentsRequest")).get("requests", [])
    if not 1 <= len(requests) <= embed.MAX_ENTRIES:
        raise invalid(
            f"* BatchEmbedContentsRequest.requests: at most {embed.MAX_ENTRIES} requests can be in one batch, "
            f"and at least one; found {len(requests)}"
        )
    vectors = await run_in_threadpool(embed.vectors, requests, model)
    return JsonReply({"embeddings": [{"values": vector} for vector in vectors]})


# --- batches ---


async def _create_batch(request: Request, owner: str, model: catalogue.Model) -> Response:
    """Create a batch of requests for text or for vectors, by which method was called."""
    body = await read_body(request, "CreateBatchRequest")
    world = world_of(request)
    batch, faults = await run_in_threadpool(
        world.create_batch,
        owner,
        body.get("batch", {}),
        model=model.name,
        kind="embed" if model.embeds else "generate",
        target=request.state.target,
    )
    note(request.state.entry, faults)
    return JsonReply(world.batches.operation(batch))


@api
async def _list_batches(request: Request) -> Response:
    """List batches, newest first; the list may lag behind."""
    owner = owner_of(request)
    world = world_of(request)
    if world.settings.list_needs_page_size and "pageSize" not in request.query_params:
        return JsonReply({})
    size, before = page_of(request, default=50, most=100)
    return JsonReply(await run_in_threadpool(_page_of_batches, world, owner, size, before))


def _page_of_batches(world: World, owner: str, size: int, before: int | None) -> dict[str, Any]:
    """Return one page of batches."""
    batches = world.batches.page(owner, size=size + 1, before=before)
    shown: dict[str, Any] = {}
    if batches:
        shown["operations"] = [world.batches.operation(batch) for batch in batches[:size]]
    if len(batches) > size:
        shown["nextPageToken"] = str(batches[size - 1].number)
    return shown


@api
async def _get_batch(request: Request) -> Response:
    """Answer one operation."""
    owner, batch_id = owner_of(request), request.path_params["name"]
    world = world_of(request)

    def look() -> dict[str, Any]:
        """Look at the batch once."""
        batch: Batch = world.look_at_batch(owner, batch_id)
        return world.batches.operation(batch)

    return JsonReply(await run_in_threadpool(look))


@api
async def _cancel_batch(request: Request) -> Response:
    """Cancel a batch."""
    name, _, method = request.path_params["name"].rpartition(":")
    if method != "cancel":
        raise no_such_path(request)
    await run_in_threadpool(world_of(request).batches.cancel, owner_of(request), name)
    return JsonReply({})


@api
async def _delete_batch(request: Request) -> Response:
    """Delete a batch."""
    world = world_of(request)
    await run_in_threadpool(
        world.batches.delete,
        owner_of(request),
        request.path_params["name"],
        with_results=world.settings.delete_results,
    )
    return JsonReply({})


_METHODS = {
    "generateContent": _generate,
    "streamGenerateContent": _stream,
    "countTokens": _count,
    "embedContent": _embed_one,
    "batchEmbedContents": _embed_many,
    "batchGenerateContent": _create_batch,
    "asyncBatchEmbedContent": _create_batch,
}

ROUTES = [
    Route("/upload/{version}/files", _upload, methods=["POST"]),
    Route("/download/{version}/files/{name}", _get_file, methods=["GET"]),
    Route("/{version}/files", _list_files, methods=["GET"]),
    Route("/{version}/files/{name}", _get_file, methods=["GET"]),
    Route("/{version}/files/{name}", _delete_file, methods=["DELETE"]),
    Route("/{version}/models", _list_models, methods=["GET"]),
    Route("/{version}/models/{name:path}", _get_model, methods=["GET"]),
    Route("/{version}/models/{name:path}", _call_model, methods=["POST"]),
    Route("/{version}/batches", _list_batches, methods=["GET"]),
    Route("/{version}/batches/{name}", _get_batch, methods=["GET"]),
    Route("/{version}/batches/{name}", _cancel_batch, methods=["POST"]),
    Route("/{version}/batches/{name}", _delete_batch, methods=["DELETE"]),
]
"""All paths of the API."""


async def _no_route(request: Request, _error: Exception) -> Response:
    """Answer a path that is none."""
    return refused(no_such_path(request))


async def _broken(_request: Request, error: Exception) -> Response:
    """Answer where the engine itself is at fault, with what went wrong."""
    return refused(ApiError(500, f"The local engine failed: {type(error).__name__}: {error}"))


def application(world: World) -> Starlette:
    """Return the application for a world, without the gate in front of it."""
    app = Starlette(
        routes=[*control.ROUTES, *ROUTES], exception_handlers={HTTPException: _no_route, Exception: _broken}
    )
    app.state.world = world
    return app
