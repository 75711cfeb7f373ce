"""The routes of the API: what each path takes and answers. Behaviour is behind `World`.

The same paths are served for v1, v1beta and v1alpha. A key is required everywhere but on upload sessions, whose URL is
the credential; any key that is not empty will do, and what was made with one is not seen with another.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emulator import catalogue, control, embed, generate, media, wire_files
from emulator.errors import ApiError, invalid
from emulator.gate import note
from emulator.replies import JsonReply, api, no_such_path, owner_of, page_of, page_shown, read_body, refused, world_of
from emulator.results import spoil
from emulator.world import World


@api
async def _list_models(request: Request) -> Response:
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


async def _generate(request: Request, owner: str, model: catalogue.Model) -> Response:
    return JsonReply(await _answered(request, owner, model))


async def _stream(request: Request, owner: str, model: catalogue.Model) -> Response:
    """Answer one request for text as a stream of one event, or as a list of one document without `alt=sse`."""
    answered = await _answered(request, owner, model)
    if request.query_params.get("alt") != "sse":
        return JsonReply([answered])
    data = b"data: " + bytes(JsonReply(answered).body) + b"\r\n\r\n"
    return Response(data, media_type="text/event-stream")


async def _answered(request: Request, owner: str, model: catalogue.Model) -> dict[str, Any]:
    """Return the answer to a request for text, within its quotas, and spoiled where a script says so."""
    body = await read_body(request, "GenerateContentRequest")
    world = world_of(request)

    def serve() -> dict[str, Any]:
        """Check, count and answer the request: what is refused, by whichever of them, counts against nothing."""
        generate.check_request(body, model)
        request.state.entry.text_sha256 = generate.text_digest(body)
        seen = media.looked_at(body, partial(world.files.medium, owner))
        _admit(request, owner, model, requests=1, tokens=generate.count_tokens(body, model, seen).total)
        settings = world.settings
        return generate.answer(body, model, seen=seen, seed=settings.seed)

    response = await run_in_threadpool(serve)
    # a fault for certain keys is about lines: a live call has no key
    scripted = world.faults.matching("line", "POST", target=request.state.target)
    struck = [fault for fault in scripted if not fault.key.pattern and fault.fire()]
    note(request.state.entry, struck)
    for fault in struck:
        for line in spoil([{"response": response}], fault):
            if isinstance(line, dict) and "response" in line:
                response = line["response"]
    return response


def _admit(request: Request, owner: str, model: catalogue.Model, *, requests: int, tokens: int) -> None:
    """Count a call against the quotas of its key and model, and tell the journal.

    Raises:
        ApiError: 429 as `Quotas.admit`.
    """
    entry = request.state.entry
    entry.model, entry.requests, entry.tokens = model.name, requests, tokens
    entry.at_ns = world_of(request).quotas.admit(owner, model, requests=requests, tokens=tokens)


async def _count(request: Request, owner: str, model: catalogue.Model) -> Response:
    """Count tokens as an answer counts those of its prompt.

    Contents beside a whole request are ignored (reference of v1beta, CountTokensRequest).
    """
    body = await read_body(request, "CountTokensRequest")
    asked = body.get("generateContentRequest", body)
    open_file = partial(world_of(request).files.medium, owner)
    seen = await run_in_threadpool(media.looked_at, asked, open_file)
    tokens = generate.count_tokens(asked, model, seen)
    return JsonReply({"totalTokens": tokens.total, "promptTokensDetails": tokens.details()})


async def _embed_one(request: Request, owner: str, model: catalogue.Model) -> Response:
    """Answer one request for a vector."""
    body = await read_body(request, "EmbedContentRequest")
    vectors = await _embedded(request, owner, model, [body])
    return JsonReply({"embedding": {"values": vectors[0]}})


async def _embed_many(request: Request, owner: str, model: catalogue.Model) -> Response:
    """Answer up to a hundred requests for vectors, one vector for each."""
    requests = (await read_body(request, "BatchEmbedContentsRequest")).get("requests", [])
    if not 1 <= len(requests) <= embed.MAX_ENTRIES:
        raise invalid(
            f"* BatchEmbedContentsRequest.requests: at most {embed.MAX_ENTRIES} requests can be in one batch, "
            f"and at least one; found {len(requests)}"
        )
    vectors = await _embedded(request, owner, model, requests)
    return JsonReply({"embeddings": [{"values": vector} for vector in vectors]})


async def _embedded(
    request: Request, owner: str, model: catalogue.Model, bodies: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """Return one vector for each request, within the quotas, which count texts."""

    def serve() -> list[Any]:
        """Check, count and answer the requests."""
        for body in bodies:
            embed.text_to_embed(body)
        tokens = sum(generate.count_tokens(body, model).total for body in bodies)
        _admit(request, owner, model, requests=len(bodies), tokens=tokens)
        return embed.vectors(bodies, model)

    return await run_in_threadpool(serve)


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
    return JsonReply(world.operation(batch))


@api
async def _list_batches(request: Request) -> Response:
    """List batches, newest first; the list may lag behind."""
    owner = owner_of(request)
    world = world_of(request)
    if world.settings.list_needs_page_size and "pageSize" not in request.query_params:
        return JsonReply({})
    size, before = page_of(request, default=50, most=world.settings.list_page_most)

    def shown() -> dict[str, Any]:
        batches = world.list_batches(owner, size=size + 1, before=before)
        return page_shown("operations", batches, size=size, show=world.operation, token=lambda batch: batch.number)

    return JsonReply(await run_in_threadpool(shown))


@api
async def _get_batch(request: Request) -> Response:
    owner, batch_id = owner_of(request), request.path_params["name"]
    world = world_of(request)
    return JsonReply(await run_in_threadpool(lambda: world.operation(world.look_at_batch(owner, batch_id))))


@api
async def _cancel_batch(request: Request) -> Response:
    name, _, method = request.path_params["name"].rpartition(":")
    if method != "cancel":
        raise no_such_path(request)
    await run_in_threadpool(world_of(request).batches.cancel, owner_of(request), name)
    return JsonReply({})


@api
async def _delete_batch(request: Request) -> Response:
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
    Route("/{version}/models", _list_models, methods=["GET"]),
    Route("/{version}/models/{name:path}", _get_model, methods=["GET"]),
    Route("/{version}/models/{name:path}", _call_model, methods=["POST"]),
    Route("/{version}/batches", _list_batches, methods=["GET"]),
    Route("/{version}/batches/{name}", _get_batch, methods=["GET"]),
    Route("/{version}/batches/{name}", _cancel_batch, methods=["POST"]),
    Route("/{version}/batches/{name}", _delete_batch, methods=["DELETE"]),
]
"""All paths of models and batches."""


async def _no_route(request: Request, _error: Exception) -> Response:
    return refused(no_such_path(request))


async def _broken(_request: Request, error: Exception) -> Response:
    """Answer where the engine itself is at fault, with what went wrong."""
    return refused(ApiError(500, f"The local engine failed: {type(error).__name__}: {error}"))


def application(world: World) -> Starlette:
    """Return the application for a world, without the gate in front of it."""
    app = Starlette(
        routes=[*control.ROUTES, *wire_files.ROUTES, *ROUTES],
        exception_handlers={HTTPException: _no_route, Exception: _broken},
    )
    app.state.world = world
    return app
