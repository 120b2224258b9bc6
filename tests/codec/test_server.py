"""The codec server: Temporal's protocol, one page, and whoever has the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp.test_utils import TestClient, TestServer, unused_port
from google.protobuf.json_format import MessageToDict, ParseDict
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads

from domain.errors import InvalidConfiguration
from starters.codec.access import Access, access_from
from starters.codec.server import application
from tests.support.codec import Shelf
from workers.runtime.codec import ENCODING, EncryptingCodec
from workers.runtime.key_ring import CodecKey, KeyRing
from workers.runtime.settings import CodecServerSettings

UI = "http://127.0.0.1:8233"
TOKEN = "only-for-this-test"
HELLO = Payload(metadata={"encoding": b"json/plain"}, data=b'"hello"')


class Codec:
    """A running server, and what is needed to ask it."""

    def __init__(self, token: str | None = None, origin: str | None = UI) -> None:
        self.keys = KeyRing(Shelf(CodecKey.generate()))
        self._token = token
        self._origin = origin

    async def __aenter__(self) -> Self:
        token = None if self._token is None else SecretStr(self._token)
        port = unused_port()
        access = Access("127.0.0.1", port, self._origin, token)
        server = TestServer(application(self.keys, access), host="127.0.0.1", port=port)
        self.client = TestClient(server)
        await self.client.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def ask(self, path: str, *payloads: Payload, **headers: str) -> tuple[int, Any]:
        body = MessageToDict(Payloads(payloads=payloads))
        async with self.client.post(path, json=body, headers=headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def codec() -> AsyncIterator[Codec]:
    async with Codec() as codec:
        yield codec


def payloads_in(document: dict[str, Any]) -> list[Payload]:
    return list(ParseDict(document, Payloads()).payloads)


async def test_what_workers_encrypt_is_read_out_and_the_other_way_round(codec: Codec) -> None:
    worker = EncryptingCodec(codec.keys, "default")
    status, answer = await codec.ask("/decode", *await worker.encode([HELLO, HELLO]))
    assert (status, payloads_in(answer)) == (200, [HELLO, HELLO])
    status, answer = await codec.ask("/encode", HELLO)
    (encoded,) = payloads_in(answer)
    assert (status, encoded.metadata["encoding"]) == (200, ENCODING)
    assert await worker.decode([encoded]) == [HELLO]


async def test_payloads_are_read_in_the_namespace_that_is_asked_about(codec: Codec) -> None:
    encoded = await EncryptingCodec(codec.keys, "desk").encode([HELLO])
    status, answer = await codec.ask("/decode", *encoded, **{"X-Namespace": "desk"})
    assert (status, payloads_in(answer)) == (200, [HELLO])
    status, answer = await codec.ask("/decode", *encoded)
    assert (status, answer["code"]) == (400, "invalid_input")


async def test_a_payload_under_an_unknown_key_is_refused_and_named(codec: Codec) -> None:
    foreign = EncryptingCodec(KeyRing(Shelf(CodecKey.generate())), "default")
    status, answer = await codec.ask("/decode", *await foreign.encode([HELLO]))
    assert (status, answer["field"]) == (400, "encryption-key-id")


@pytest.mark.parametrize("body", [b"", b"{", b'{"payloads": 7}', b"\xff"])
async def test_what_is_no_message_is_refused(codec: Codec, body: bytes) -> None:
    async with codec.client.post("/decode", data=body) as answer:
        assert answer.status == 400


async def test_the_web_ui_may_ask_and_no_other_page(codec: Codec) -> None:
    async with codec.client.options("/decode", headers={"Origin": UI}) as preflight:
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == UI
        assert "x-namespace" in preflight.headers["Access-Control-Allow-Headers"]
    assert (await codec.ask("/decode", HELLO, Origin=UI))[0] == 200
    for origin in ("http://evil.example", "null", UI + "0", "http://localhost:8233"):
        async with codec.client.options("/decode", headers={"Origin": origin}) as preflight:
            assert preflight.status == 403
            assert "Access-Control-Allow-Origin" not in preflight.headers
        assert (await codec.ask("/decode", HELLO, Origin=origin))[0] == 403


async def test_a_page_under_a_name_that_leads_here_may_not_ask(codec: Codec) -> None:
    assert (await codec.ask("/decode", HELLO, Host="evil.example:8081"))[0] == 403
    assert (await codec.ask("/decode", HELLO, Host=f"localhost:{codec.client.port}"))[0] == 200


async def test_without_a_web_ui_no_page_may_ask() -> None:
    async with Codec(origin=None) as codec:
        assert (await codec.ask("/decode", HELLO, Origin="null"))[0] == 403
        assert (await codec.ask("/decode", HELLO))[0] == 200


async def test_with_a_token_only_who_sends_it_is_answered() -> None:
    async with Codec(token=TOKEN) as codec:
        for sent in ({}, {"Authorization": "Bearer other"}, {"Authorization": TOKEN}):
            status, answer = await codec.ask("/decode", HELLO, **sent)
            assert (status, set(answer)) == (401, {"message"})
        status, _ = await codec.ask("/decode", HELLO, Authorization=f"Bearer {TOKEN}", Origin=UI)
        assert status == 200
        async with codec.client.options("/decode", headers={"Origin": UI}) as preflight:
            assert preflight.status == 204


# -- settings ------------------------------------------------------------------------------------


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_on_loopback_a_development_server_needs_no_token(address: str) -> None:
    settings = CodecServerSettings(environment="development", codec_server_address=address)
    assert access_from(settings).token is None


@pytest.mark.parametrize(
    ("environment", "address"),
    [("production", "127.0.0.1:1"), ("development", "0.0.0.0:1"), ("development", "desk:1")],
)
def test_elsewhere_and_in_production_it_does(
    environment: Any, address: str, token_file: Path
) -> None:
    fields: dict[str, Any] = {"environment": environment, "codec_server_address": address}
    with pytest.raises(InvalidConfiguration) as caught:
        access_from(CodecServerSettings(**fields))
    assert caught.value.problem.field == "DEAL_CODEC_SERVER_TOKEN_FILE"
    access = access_from(CodecServerSettings(**fields, codec_server_token_file=token_file))
    assert access.token is not None
    assert access.token.get_secret_value() == TOKEN
    assert TOKEN not in repr(access)


def test_a_token_file_that_cannot_be_trusted_is_refused(tmp_path: Path, token_file: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch(0o600)
    token_file.chmod(0o644)
    for file in (token_file, empty, tmp_path / "nowhere"):
        with pytest.raises(InvalidConfiguration) as caught:
            access_from(CodecServerSettings(codec_server_token_file=file))
        assert caught.value.problem.value == str(file)
        assert TOKEN not in repr(caught.value.problem)


@pytest.mark.parametrize("address", ["", "8081", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfiguration):
        access_from(CodecServerSettings(environment="development", codec_server_address=address))
