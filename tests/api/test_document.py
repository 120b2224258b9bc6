"""The API's document: complete for every endpoint, true to the code, and committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from domain.identity import Permission
from starters.api.application import document_text
from starters.api.describing import ANY
from starters.api.limiting import Rate

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(document_text())
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
OURS = {name: found for name, found in OPERATIONS.items() if not name.startswith("health_")}


def schema_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"components": DOCUMENT["components"], **schema}


def documents(media_type: str, example: Any) -> list[Any]:
    """What the schema is of: the whole answer, or each of its lines."""
    lines = media_type == "application/x-ndjson"
    return [json.loads(line) for line in example.splitlines()] if lines else [example]


def test_the_committed_document_is_the_codes() -> None:
    assert COMMITTED.read_text() == document_text(), "run `deal api openapi -f docs/openapi.json`"


def test_operation_ids_are_one_each() -> None:
    count = sum(len(methods) for methods in DOCUMENT["paths"].values())
    assert len(OPERATIONS) == count


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_endpoint_is_described(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    assert operation["description"]
    assert operation["tags"]
    for number, response in operation["responses"].items():
        assert response["description"], number
        if number in {"204", "304"}:
            continue
        for media_type, content in response["content"].items():
            assert "example" in content, (number, media_type)
            if media_type.endswith("json"):
                validator = jsonschema_rs.validator_for(schema_of(content["schema"]))
                for each in documents(media_type, content["example"]):
                    validator.validate(each)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_endpoint_says_what_it_takes_and_how_it_fails(name: str) -> None:
    method, _, operation = OURS[name]
    assert operation["security"] == [{"bearer": []}]
    assert operation["x-permission"] == ANY or Permission(operation["x-permission"])
    rate = Rate(operation["x-rate-limit"])
    failures = {"400", "401", "403", "422", "429", "500", "503"}
    if method != "get":
        failures |= {"409", "413", "504"}
    assert failures <= set(operation["responses"])
    for number in failures:
        assert "application/problem+json" in operation["responses"][number]["content"]
    assert "Retry-After" in operation["responses"]["429"]["headers"]
    good = [response for number, response in operation["responses"].items() if number < "300"]
    assert good
    assert all({"RateLimit", "RateLimit-Policy"} <= set(each["headers"]) for each in good)
    if rate is Rate.LAUNCH:
        assert "rate_limits_unavailable" in operation["responses"]["503"]["description"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_change_takes_a_key_and_every_body_has_an_example(name: str) -> None:
    method, _, operation = OURS[name]
    headers = {
        parameter["name"]: parameter["required"]
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "header"
    }
    assert headers.get("Idempotency-Key", False) is (method != "get")
    body = operation.get("requestBody")
    if body is not None:
        content = body["content"]["application/json"]
        schema = schema_of(content["schema"])
        jsonschema_rs.validator_for(schema).validate(content["example"])
