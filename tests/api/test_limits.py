"""How often anybody may ask, and what holds while requests cannot be counted together."""

from __future__ import annotations

from tests.api.conftest import Api, as_, key
from tests.api.probe import Probe
from tests.api.redis import Redis

WHY = {"reason": "a test"}


async def test_what_is_left_is_told_and_then_it_is_enough(api: Api, redis: Redis) -> None:
    async with api(redis_url=redis.url, api_rate_read="3/minute") as client:
        answers = [await client.get("/v1/deals", headers=as_("viewer")) for _ in range(4)]
        other = await client.get("/v1/deals", headers=as_("one"))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    left = [answer.headers["RateLimit"].split(";")[1] for answer in answers]
    assert left == ["r=2", "r=1", "r=0", "r=0"]
    assert {a.headers["RateLimit-Policy"] for a in answers} == {'"read";q=3;w=60'}
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 120
    assert answers[-1].json()["code"] == "rate_limited"
    assert other.status_code == 200


async def test_all_processes_count_together(api: Api, redis: Redis) -> None:
    async with (
        api(redis_url=redis.url, api_rate_read="3/minute") as one,
        api(redis_url=redis.url, api_rate_read="3/minute") as two,
    ):
        statuses = [
            (await client.get("/v1/deals", headers=as_("viewer"))).status_code
            for client in (one, two, one, two)
        ]
    assert statuses == [200, 200, 200, 429]


async def test_an_address_is_counted_before_anybody_is_known(api: Api) -> None:
    async with api(api_rate_address="2/minute") as client:
        statuses = [
            (await client.get("/v1/deals", headers=as_(who))).status_code
            for who in ("viewer", "one", "everybody")
        ]
    assert statuses == [200, 200, 429]


async def test_whoever_guesses_credentials_is_soon_not_listened_to(api: Api) -> None:
    async with api(api_rate_unauthenticated="3/minute") as client:
        statuses = [
            (await client.get("/v1/deals", headers=as_(f"guess-{n}"))).status_code for n in range(5)
        ]
        right = await client.get("/v1/deals", headers=as_("viewer"))
    assert statuses == [401, 401, 401, 429, 429]
    assert right.status_code == 429  # else he would learn which guess was right


async def test_with_redis_gone_only_launches_are_refused(
    api: Api, probe: Probe, redis: Redis
) -> None:
    async with api(redis_url=redis.url) as client:
        for path in ("launch", "safety"):
            answer = await client.post(
                f"/probe/{path}", json=WHY, headers=as_("everybody", **key())
            )
            assert answer.status_code == 200
        redis.stop()
        refused = await client.post("/probe/launch", json=WHY, headers=as_("everybody", **key()))
        assert (refused.status_code, refused.json()["code"]) == (503, "rate_limits_unavailable")
        assert "Redis" in refused.json()["next_action"]
        for path in ("safety", "change"):
            answer = await client.post(
                f"/probe/{path}", json=WHY, headers=as_("everybody", **key())
            )
            assert answer.status_code == 200
        assert (await client.get("/v1/deals", headers=as_("everybody"))).status_code == 200
        health = (await client.get("/health")).json()
        assert health["status"] == "degraded"
        (away,) = [each for each in health["dependencies"] if each["name"] == "redis"]
        assert (away["state"], away["without"]) == ("away", "launches are refused")
    assert probe.times == 4


async def test_without_redis_each_process_still_counts(api: Api, redis: Redis) -> None:
    redis.stop()
    async with api(redis_url=redis.url, api_rate_read="2/minute") as client:
        statuses = [
            (await client.get("/v1/deals", headers=as_("viewer"))).status_code for _ in range(3)
        ]
    assert statuses == [200, 200, 429]
