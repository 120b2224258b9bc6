"""What holds for every request: where it may come from, how large it is, what it is told."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import httpx
import pytest

from domain.errors import DealError, InvalidConfiguration, errors_by_code
from starters.api.network import client_address
from starters.api.problems import status_of
from starters.api.refusals import Internal
from starters.api.settings import ApiSettings
from tests.api.conftest import Api, as_, key
from tests.api.probe import Probe

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        # Nobody who is not trusted may say where he comes from.
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        # What stands to the left of the rightmost untrusted address was written by the caller.
        ("10.0.0.1", ["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["127.0.0.1", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.7, nonsense"], "10.0.0.1"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        (None, ["198.51.100.7"], None),
        ("testclient", ["198.51.100.7"], None),
    ],
)
def test_where_a_request_comes_from(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    found = client_address(peer, forwarded, PROXIES)
    assert found == (None if address is None else ip_address(address))


async def test_who_is_not_on_the_list_is_not_answered(api: Api) -> None:
    given = {"api_allowed_networks": "192.0.2.0/24", "api_trusted_proxies": "10.0.0.0/8"}
    for peer, forwarded, status in (
        ("192.0.2.9", None, 200),
        ("198.51.100.1", None, 403),
        ("198.51.100.1", "192.0.2.9", 403),
        ("10.1.1.1", "192.0.2.9", 200),
        ("10.1.1.1", "192.0.2.9, 198.51.100.1", 403),
        ("10.1.1.1", None, 403),
    ):
        async with api(peer, **given) as client:
            headers = as_("viewer") | ({"X-Forwarded-For": forwarded} if forwarded else {})
            answer = await client.get("/v1/deals", headers=headers)
            assert answer.status_code == status, (peer, forwarded)
            assert (await client.get("/health")).status_code == (
                403
                if not forwarded and peer != "192.0.2.9"
                else 200
                if peer == "192.0.2.9"
                else 403
            )


def test_beyond_loopback_somebody_has_to_say_who_may_ask() -> None:
    fields = {"database_url": "postgresql://x", "environment": "production"}
    for address in ("0.0.0.0:80", "api.example:80"):
        with pytest.raises(InvalidConfiguration) as caught:
            ApiSettings(**fields, api_address=address).listens_on()
        assert caught.value.problem.field == "DEAL_API_ALLOWED_NETWORKS"
        open_ = ApiSettings(**fields, api_address=address, api_allowed_networks="0.0.0.0/0")
        assert open_.listens_on()[1] == 80
    assert ApiSettings(**fields, api_address="9000").listens_on() == ("127.0.0.1", 9000)


@pytest.mark.parametrize("length", ["said", "unsaid"])
async def test_a_body_is_only_so_large(api: Api, probe: Probe, length: str) -> None:
    async def parts() -> object:
        for _ in range(40):
            yield b"x" * 1000

    body = b"x" * 40_000 if length == "said" else parts()
    async with api(api_body_bytes=32_000) as client:
        answer = await client.post("/probe/change", content=body, headers=as_("everybody", **key()))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert probe.times == 0


async def test_a_slow_answer_is_given_up_and_told_as_unknown(api: Api, probe: Probe) -> None:
    import asyncio

    async def hang() -> None:
        await asyncio.sleep(60)

    probe.work = hang
    async with api(api_request_seconds=0.2) as client:
        answer = await client.post(
            "/probe/change", json={"reason": "x"}, headers=as_("everybody", **key())
        )
    assert (answer.status_code, answer.json()["code"]) == (504, "outcome_unknown")
    assert "Idempotency-Key" in answer.json()["next_action"]


async def test_a_defect_tells_its_request_id_and_nothing_else(api: Api, probe: Probe) -> None:
    async def fail() -> None:
        raise RuntimeError("postgresql://deal:hunter2@db/deals")

    probe.work = fail
    async with api() as client:
        answer = await client.post(
            "/probe/change",
            json={"reason": "x"},
            headers=as_("everybody", **key()) | {"X-Request-ID": "mine-12345"},
        )
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "mine-12345"
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


@pytest.mark.parametrize("given", ["x", "a b c d e f g h", "a" * 65, "line\tbreak1"])
async def test_a_request_id_that_is_none_is_replaced(api: Api, given: str) -> None:
    async with api() as client:
        answer = await client.get("/live", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] != given
    assert len(answer.headers["X-Request-ID"]) == 32


async def test_every_answer_has_the_headers_that_protect_browsers(api: Api) -> None:
    async with api() as client:
        answers = [
            await client.get("/live"),
            await client.get("/v1/deals", headers=as_("viewer")),
            await client.get("/v1/deals"),
            await client.get("/nothing"),
        ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Server" not in answer.headers


async def test_no_page_may_ask_unless_it_is_named(api: Api) -> None:
    async def preflight(client: httpx.AsyncClient) -> httpx.Response:
        return await client.options(
            "/v1/deals",
            headers={"Origin": "https://desk.example", "Access-Control-Request-Method": "GET"},
        )

    async with api() as client:
        assert "Access-Control-Allow-Origin" not in (await preflight(client)).headers
    async with api(api_cors_origins="https://desk.example") as client:
        answer = await preflight(client)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://desk.example"


async def test_the_document_is_served_only_where_it_is_wanted(api: Api) -> None:
    async with api() as client:
        assert [(await client.get(p)).status_code for p in ("/docs", "/openapi.json")] == [404, 404]
    async with api(api_docs=True) as client:
        assert [(await client.get(p)).status_code for p in ("/docs", "/openapi.json")] == [200, 200]


def test_every_error_has_its_status() -> None:
    for kind in errors_by_code().values():
        own = status_of(kind)
        assert 400 <= own < 600
        if kind not in {DealError, InvalidConfiguration, Internal}:
            assert own != 500, f"{kind.__name__} is answered as if it were a defect"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, "body"),
        (b"[]", 422, "body"),
        (b'{"reason": " "}', 422, "reason"),
        (b'{"reason": 7}', 422, "reason"),
        (b'{"reason": "x", "more": 1}', 422, "more"),
        (b"\xff\xfe", 400, "body"),
        (b"", 422, "body"),
    ],
)
async def test_what_is_wrong_with_a_body_is_named(
    api: Api, probe: Probe, body: bytes, status: int, field: str
) -> None:
    async with api() as client:
        answer = await client.post(
            "/probe/change",
            content=body,
            headers=as_("everybody", **key()) | {"Content-Type": "application/json"},
        )
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert probe.times == 0


async def test_only_json_is_read(api: Api) -> None:
    async with api() as client:
        answer = await client.post(
            "/probe/change", data={"reason": "x"}, headers=as_("everybody", **key())
        )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [r'{"reason": "half \ud800"}', r'{"reason": "x", "\ud800": 1}', r'{"reason": "a\u0000b"}'],
)
async def test_text_that_cannot_be_kept_is_refused(api: Api, probe: Probe, body: str) -> None:
    """JSON can name half of a surrogate pair, and NUL, which Postgres does not keep."""
    async with api() as client:
        headers = as_("everybody", **key()) | {"Content-Type": "application/json"}
        answer = await client.post("/probe/change", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert probe.times == 0
