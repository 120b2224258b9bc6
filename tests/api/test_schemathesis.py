"""What Schemathesis makes up from the document, sent to the API as it is served, on a real stack.

The stack is this module's own: everything that the API can do may be done there. Endpoints and
bodies are those of the document. Beside what is made up for them (what the document allows, and
what it does not) their own examples are sent, with ids that exist in place of those made up.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from domain.deals import Command, DealStatus
from domain.identity import Role
from starters.local.stack import Stack
from tests.api.served_stack import add_person, served_on
from tests.api.test_document import DOCUMENT, OPERATIONS, OURS
from tests.support.desk import Desk
from tests.support.stacks import running_stack

LEAST: Final = 2_000
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BANK: Final = "bank-fuzz"
NOTHING_FOUND: Final = frozenset({400, 401, 403, 404, 405, 413, 415, 422, 428})
"""Answers to what was not looked into."""
SECONDS: Final = 60
NAMES: Final = frozenset(
    parameter["name"]
    for _, _, operation in OPERATIONS.values()
    for parameter in operation.get("parameters", ())
    if parameter["in"] == "path"
)


@dataclass
class Asked:
    """The API as it is asked: by whom, about what there is, and what came of it."""

    address: str
    keys: dict[str, str]
    """Of each caller, by what he may do."""
    mine: frozenset[str]
    """Names of the callers and their keys: those are not to be taken away from them."""
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """What exists, by the name of the parameter that takes it."""
    ended: set[str] = field(default_factory=set)
    """Deals whose stream of events comes to an end."""
    tags: set[str] = field(default_factory=lambda: {'"1-abc"'})
    """What was read under."""
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: dict[tuple[str, int], Any] = field(default_factory=dict)
    """The first case of each endpoint and status that was answered as it must not be."""
    session: requests.Session = field(default_factory=requests.Session)

    def look(self) -> None:
        """Learn ids from all that can be listed."""
        for method, path, operation in OURS.values():
            if method != "get" or "{" in path or any(map(_is_needed, _parameters(operation))):
                continue
            answer = self.session.get(
                f"{self.address}{path}", headers=_by(self.keys["everything"]), timeout=SECONDS
            )
            assert answer.status_code == 200, (path, answer.text)
            self.tags |= {answer.headers["ETag"]} if "ETag" in answer.headers else set()
            self._learn(answer.json())

    def _learn(self, document: Any) -> None:
        if isinstance(document, list):
            for each in document:
                self._learn(each)
        elif isinstance(document, dict):
            for name, value in document.items():
                if name in NAMES and isinstance(value, str | int) and str(value) not in self.mine:
                    self.ids[name].add(str(value))
                self._learn(value)

    def places(self, operation: dict[str, Any]) -> dict[str, list[str]]:
        """The ids for each parameter of the path that there are any for."""
        streams = any(
            "text/event-stream" in response.get("content", ())
            for response in operation["responses"].values()
        )
        known = self.ids | {"deal_id": self.ended} if streams else self.ids
        return {
            parameter["name"]: sorted(known[parameter["name"]])
            for parameter in _parameters(operation)
            if parameter["in"] == "path" and known.get(parameter["name"])
        }

    def send(self, name: str, case: Any, who: str) -> None:
        """Send one case, and note what Schemathesis finds wrong with the answer."""
        headers = _by(self.keys[who])
        if "Idempotency-Key" in (case.headers or {}):
            headers["Idempotency-Key"] = str(uuid4())
        answer = case.call(headers=headers, timeout=SECONDS, session=self.session)
        self.statuses[name][answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as found:
            asked_for = (case.path_parameters, case.query, case.headers, case.body)
            told = (answer.status_code, answer.text[:1_000], str(found.exceptions))
            if (name, answer.status_code) not in self.wrong:
                self.wrong[name, answer.status_code] = (asked_for, told)
                print(name, asked_for, told, flush=True)  # noqa: T201 - shown if it fails

    @property
    def count(self) -> int:
        """How many cases were sent."""
        return sum(each.total() for each in self.statuses.values())

    @property
    def looked_into(self) -> int:
        """Of how many was more than refused at the door, or not found."""
        return sum(
            number
            for each in self.statuses.values()
            for status, number in each.items()
            if status not in NOTHING_FOUND
        )


def _by(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _parameters(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return list(operation.get("parameters", ()))


def _is_needed(parameter: dict[str, Any]) -> bool:
    return bool(parameter.get("required"))


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    with running_stack(
        block_time=None, chains=(138, 651940)
    ) as stack:  # every chain with a profile
        yield stack


@pytest.fixture(scope="module")
def asked(own_stack: Stack) -> Iterator[Asked]:
    """The API on that stack, where one deal has ended and one is paused."""
    people = {
        "everything": add_person(own_stack, "fuzz-everything", *Role),
        "one bank": add_person(own_stack, "fuzz-bank", *Role, banks=(BANK,)),
        "reading": add_person(own_stack, "fuzz-viewer", Role.VIEWER),
    }
    ended, paused = asyncio.run(_deals(own_stack))
    with served_on(own_stack, api_request_seconds=SECONDS / 2) as address:
        asked = Asked(
            address,
            {name: key.text for name, key in people.items()},
            frozenset(key.key_id for key in people.values())
            | {"fuzz-everything", "fuzz-bank", "fuzz-viewer"},
        )
        asked.ended = {ended}
        asked.ids["deal_id"] |= {ended, paused}
        asked.look()
        yield asked


async def _deals(stack: Stack) -> tuple[str, str]:
    desk = await Desk.open(stack)
    ended = (await desk.run(bank=BANK)).request.deal_id
    paused = (await desk.start(bank=BANK)).request.deal_id
    await desk.command(paused, Command.PAUSE)
    await desk.status(paused, DealStatus.PAUSED)
    await asyncio.sleep(0.25)  # the SDK's own threads have to be done with the last answer
    return ended, paused


@st.composite
def cases(draw: st.DrawFn, operation: Any, described: dict[str, Any], asked: Asked) -> Any:
    """One request: made up as allowed, or as not allowed, or as the document's example has it."""
    kind = draw(st.sampled_from(("allowed", "not allowed", "example", "example")))
    mode = GenerationMode.NEGATIVE if kind == "not allowed" else GenerationMode.POSITIVE
    if mode is GenerationMode.NEGATIVE and not (
        _parameters(described) or "requestBody" in described
    ):
        mode = GenerationMode.POSITIVE  # nothing can be wrong with it
    case = draw(operation.as_strategy(generation_mode=mode))
    if kind == "example" and "requestBody" in described:
        case.body = described["requestBody"]["content"]["application/json"]["example"]
    if kind == "example" or draw(st.booleans()):
        for name, known in asked.places(described).items():
            case.path_parameters[name] = draw(st.sampled_from(known))
    if kind == "example" and "If-Match" in (case.headers or {}):
        case.headers["If-Match"] = draw(st.sampled_from(sorted(asked.tags)))
    return case


def probe(operation: Any, described: dict[str, Any], asked: Asked, cases_of_it: int) -> None:
    """Send that many cases of one operation."""

    @given(
        case=cases(operation, described, asked),
        who=st.sampled_from(("everything", "everything", "one bank", "reading")),
    )
    @settings(
        max_examples=cases_of_it,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any, who: str) -> None:
        asked.send(described["operationId"], case, who)

    send()


@pytest.mark.unmeasured
@pytest.mark.timeout(2_400)
def test_nothing_that_can_be_asked_breaks_it(asked: Asked) -> None:
    """No 5xx, and no answer that the document does not have, in at least 2,000 cases."""
    each = -(-LEAST // len(OURS)) + 2  # there are not so many ways to ask for health
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=asked.address)
    took = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        described = DOCUMENT["paths"][operation.path][operation.method]
        began = time.monotonic()
        probe(operation, described, asked, each)
        took[described["operationId"]] = round(time.monotonic() - began, 1)
    for name, statuses in asked.statuses.items():
        print(name, took[name], dict(statuses))  # noqa: T201 - likewise
    assert not asked.wrong
    assert set(asked.statuses) == set(OPERATIONS)
    assert asked.count >= LEAST
    assert asked.looked_into >= LEAST // 3
