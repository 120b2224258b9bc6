"""`deal codec`: keys are added and listed, and never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Deal


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    monkeypatch.setenv("DEAL_CODEC_KEYS", "file")
    monkeypatch.setenv("DEAL_CODEC_KEYS_FILE", str(file))
    return file


def test_the_first_key_and_each_that_follows_are_added_and_listed(deal: Deal, file: Path) -> None:
    ids = [deal("codec", "rotate", "-o", "json").document["key_id"] for _ in range(3)]
    listed = deal("codec", "list", "-o", "json")
    assert [key["key_id"] for key in listed.document] == ids
    table = deal("codec", "list", "-o", "table").out
    assert [line.split()[0] for line in table.splitlines() if line.strip()][-3:] == ids
    assert table.count("encrypts") == 1
    keys = [key["key"] for key in json.loads(file.read_text())["keys"]]
    assert not [key for key in keys if key in listed.out + table]
    assert ids[-1] not in (said := deal("codec", "rotate", "-o", "table").out)
    assert "encrypts from now on" in said


def test_without_a_place_for_keys_it_says_what_to_set(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEAL_CODEC_KEYS")
    answer = deal("codec", "rotate")
    assert (answer.code, answer.problem["field"]) == (2, "VAULT_ADDR")


def test_where_nothing_is_encrypted_there_are_no_keys(deal: Deal) -> None:
    answer = deal("codec", "list")
    assert (answer.code, answer.problem["field"]) == (2, "DEAL_CODEC_KEYS")


def test_a_server_that_anybody_could_ask_is_not_started(
    deal: Deal, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAL_ENVIRONMENT", "production")
    assert not file.exists()
    answer = deal("codec", "serve")
    assert (answer.code, answer.problem["field"]) == (2, "DEAL_CODEC_SERVER_TOKEN_FILE")


def test_a_server_without_keys_is_not_started(deal: Deal, file: Path) -> None:
    answer = deal("codec", "serve")
    assert (answer.code, answer.problem["field"]) == (2, "DEAL_CODEC_KEYS_FILE")
    assert answer.problem["value"] == str(file)
