"""A server that encrypts and decrypts payloads for the Web UI and the ``temporal`` command.

Source of the protocol: Temporal's "Codec Server", as its UI and its command speak it: ``POST
/encode`` and ``POST /decode`` of a `Payloads` message as JSON, the namespace in ``X-Namespace``.
"""

from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from temporalio.api.common.v1 import Payloads

from domain.errors import DealError
from starters.codec.access import Access, Refused
from workers.runtime.codec import EncryptingCodec
from workers.runtime.key_ring import KeyRing

_LONGEST_BODY: Final = 32 * 1024 * 1024
"""In bytes; Temporal itself takes no message of more than 4 MiB."""
_DEFAULT_NAMESPACE: Final = "default"
_ASKED_HEADERS: Final = "authorization, authorization-extras, content-type, x-namespace"


def application(keys: KeyRing, access: Access) -> web.Application:
    """Return the server's application; nothing listens yet."""
    app = web.Application(client_max_size=_LONGEST_BODY, middlewares=[_guard(access)])
    app.on_startup.append(partial(_load, keys))
    app.router.add_post("/{work:encode|decode}", partial(_answer, keys))
    app.router.add_route("OPTIONS", "/{work:encode|decode}", _preflight)
    app.router.add_get("/health", _healthy)
    return app


def serve(keys: KeyRing, access: Access) -> None:
    """Serve until SIGTERM or SIGINT; raises as `KeyRing.load` does."""
    web.run_app(
        application(keys, access), host=access.host, port=access.port, print=None, access_log=None
    )


async def _load(keys: KeyRing, _: web.Application) -> None:
    await keys.load()


async def _answer(keys: KeyRing, request: web.Request) -> web.Response:
    try:
        sent = Parse(await request.text(), Payloads())
    except (ParseError, UnicodeDecodeError):
        raise Refused(400, "the body is no Payloads message") from None
    codec = EncryptingCodec(keys, request.headers.get("X-Namespace") or _DEFAULT_NAMESPACE)
    work = codec.encode if request.match_info["work"] == "encode" else codec.decode
    return web.json_response(MessageToDict(Payloads(payloads=await work(sent.payloads))))


async def _preflight(_: web.Request) -> web.Response:
    """Answer what a browser asks before it lets the page ask."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": _ASKED_HEADERS,
        },
    )


async def _healthy(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def _guard(access: Access) -> Middleware:
    """Let through what may ask; tell everybody else why not."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            access.check_page(request.headers)
            if request.method == "POST":  # a browser asks beforehand without the token
                access.check_token(request.headers)
            response = await handler(request)
        except Refused as refusal:
            response = web.json_response({"message": str(refusal)}, status=refusal.status)
        except DealError as error:
            response = web.json_response(error.problem.model_dump(exclude_none=True), status=400)
        if access.origin is not None and request.headers.get("Origin") == access.origin:
            response.headers["Access-Control-Allow-Origin"] = access.origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Vary"] = "Origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    return guard
