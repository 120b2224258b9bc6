"""Looking after people, by the command line, against a real Postgres."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from starters.access.keys import ApiKey
from starters.cli.main import app
from starters.local.identities import write_key
from tests.control.people import add_principal, change
from tests.support.postgres import Database, Postgres
from tests.support.stacks import own_environment

Deal = Callable[..., Any]
WHY = ("--reason", "a test")


@pytest.fixture
def office(postgres: Postgres, tmp_path: Path) -> Iterator[Database]:
    """A database with two admins, an approver and a viewer, who have keys in files."""
    database = postgres.migrated()
    for name, role in (
        ("root", "admin"),
        ("second", "admin"),
        ("dora", "approver"),
        ("vera", "viewer"),
    ):
        add_principal(database, name, role, banks=("alpha",))
        key = ApiKey.generate()
        change(
            database,
            "INSERT INTO control.api_keys (key_id, principal_id, hash, expires_at)"
            " VALUES (%s, %s, %s, now() + interval '1 day')",
            key.key_id,
            name,
            key.hash,
        )
        write_key(tmp_path / f"{name}.key", key)
    given = {
        "DEAL_DATABASE_URL": database.role("deal_reader"),
        "DEAL_CONTROL_DATABASE_URL": database.role("deal_control"),
        "DEAL_LOCAL_DIR": str(tmp_path / "no-stack"),
        "DEAL_ENVIRONMENT": "development",
        "DEAL_CODEC_KEYS": "off",
    }
    with own_environment(given):
        yield database


@pytest.fixture
def deal(office: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deal:  # noqa: ARG001 - it sets the environment
    """Run a command as somebody; the answer, or the problem if it fails."""

    def run(who: str, *arguments: str, fails: int = 0) -> Any:
        monkeypatch.setenv("DEAL_CREDENTIAL_FILE", str(tmp_path / f"{who}.key"))
        result = CliRunner().invoke(app, [*arguments, "-o", "json"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == fails, result.stderr
        return json.loads(result.stderr if fails else result.stdout)

    return run


def trail(database: Database, action: str) -> dict[str, Any]:
    with psycopg.connect(database.role("deal_reader"), row_factory=dict_row) as connection:
        (row,) = connection.execute(
            "SELECT actor, subject, why FROM audit.events WHERE action = %s", (action,)
        ).fetchall()
    return row


def test_everybody_is_told_who_he_is(deal: Deal) -> None:
    told = deal("vera", "whoami")
    assert (told["principal"], told["roles"], told["banks"]) == ("vera", ["viewer"], ["alpha"])
    assert "deals.read" in told["permissions"]
    assert "deals.start" not in told["permissions"]


def test_a_person_is_made_changed_and_disabled(deal: Deal, office: Database) -> None:
    options = ("--role", "trader", "--bank", "alpha", "--max-usd", "2,000,000.5")
    made = deal("root", "users", "create", "ann", *options, "--subject", "sub-ann", *WHY)
    assert (made["roles"], made["banks"], made["subject"]) == (["trader"], ["alpha"], "sub-ann")
    assert made["max_deal_usd8"] == "200000050000000"
    assert trail(office, "user.create") == {"actor": "root", "subject": "ann", "why": "a test"}
    changed = deal("root", "users", "set", "ann", "--role", "senior_trader", *WHY)
    assert (changed["roles"], changed["banks"]) == (["senior_trader"], ["alpha"])
    assert changed["max_deal_usd8"] == "200000050000000"
    assert deal("root", "users", "disable", "ann", *WHY)["disabled_at"] is not None
    assert deal("root", "users", "enable", "ann", *WHY)["disabled_at"] is None
    names = [each["principal_id"] for each in deal("root", "users", "list")["users"]]
    assert names == ["ann", "dora", "root", "second", "vera"]


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        (("set", "root", "--role", "trader"), 4, "not_oneself"),
        (("disable", "root"), 4, "not_oneself"),
        (("set", "nobody", "--role", "trader"), 2, "principal"),
        (
            (
                "create",
                "vera",
            ),
            1,
            "principals_pkey",
        ),
        (("create", "bot", "--service", "--role", "admin"), 2, "second_persons_are_people"),
        (("create", "bot", "--service", "--subject", "x"), 2, "services_have_keys"),
        (("create", "one", "--role", "emperor"), 2, "role"),
        (("create", "one", "--max-usd", "lots"), 2, "max_usd"),
    ],
)
def test_what_nobody_may_or_what_cannot_be_is_refused(
    deal: Deal, arguments: tuple[str, ...], code: int, field: str
) -> None:
    problem = deal("root", "users", *arguments, *WHY, fails=code)
    assert problem["field"] == field


def test_the_last_admin_cannot_be_disabled(deal: Deal, office: Database) -> None:
    deal("root", "users", "disable", "second", *WHY)
    deal("second", "users", "list", fails=4)
    # Even one whom the check of the caller has let through at the same moment.
    with pytest.raises(psycopg.errors.IntegrityError, match="no admin left"):
        change(
            office,
            "UPDATE control.principals SET disabled_at = now() WHERE principal_id = 'root'",
            who="second",
        )


def test_a_service_gets_a_key_in_a_file_and_comes_in_by_it(
    deal: Deal, office: Database, tmp_path: Path
) -> None:
    deal("root", "users", "create", "bot", "--service", "--role", "trader", "--bank", "alpha", *WHY)
    file = tmp_path / "bot.key"
    made = ("users", "key", "create", "bot", "--scope", "deals.read", "--key-file", str(file))
    told = deal("root", *made, *WHY)
    text = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert text not in json.dumps(told)
    assert deal("bot", "whoami")["permissions"] == ["deals.read"]
    (listed,) = deal("root", "users", "key", "list", "bot")["keys"]
    assert (listed["key_id"], listed["scopes"]) == (told["key_id"], ["deals.read"])
    assert listed["last_used_at"] is not None
    assert "hash" not in listed
    assert deal("root", *made, *WHY, fails=2)["field"] == "key_file"
    deal("root", "users", "key", "revoke", told["key_id"], *WHY)
    assert trail(office, "key.revoke")["subject"] == told["key_id"]
    assert deal("bot", "whoami", fails=4)["code"] == "unauthenticated"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ((), "key_file"),
        (("--show-key", "--days", "367"), "days"),
        (("--show-key", "--days", "0"), "days"),
        (("--show-key", "--scope", "deals.burn"), "scope"),
        (("--key-file", "/nonexistent/bot.key"), "key_file"),
    ],
)
def test_a_key_has_a_place_a_life_and_a_purpose(
    deal: Deal, options: tuple[str, ...], field: str
) -> None:
    deal("root", "users", "create", "bot", "--service", *WHY)
    problem = deal("root", "users", "key", "create", "bot", *options, *WHY, fails=2)
    assert problem["field"] == field
    assert deal("root", "users", "key", "list", "bot")["keys"] == []


def test_people_get_no_keys_where_there_is_an_identity_provider(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("users", "key", "create", "vera", "--show-key", *WHY)
    assert ApiKey.parse(deal("root", *asked)["key"]) is not None
    monkeypatch.setenv("DEAL_OIDC_ISSUER", "https://identity.example")
    monkeypatch.setenv("DEAL_OIDC_AUDIENCE", "deal-orchestrator")
    monkeypatch.setenv("DEAL_OIDC_JWKS_URL", "https://identity.example/keys")
    assert deal("root", *asked, fails=4)["code"] == "not_allowed"


def test_a_group_stands_in_for_an_approver(deal: Deal) -> None:
    deal("root", "groups", "create", "deputies", *WHY)
    assert deal("root", "groups", "add", "deputies", "vera", *WHY)["groups"] == ["deputies"]
    assert (
        deal("root", "groups", "add", "deputies", "root", *WHY, fails=4)["field"] == "not_oneself"
    )
    assert deal("vera", "delegate", "begin", "deputies", *WHY, fails=4)["code"] == "forbidden"
    begun = deal("dora", "delegate", "begin", "deputies", "--days", "3", *WHY)
    told = deal("vera", "whoami")
    assert told["stands_in_for"] == ["dora"]
    assert "deals.approve" in told["permissions"]
    # What is another's part is not hers to pass on.
    assert deal("vera", "delegate", "begin", "deputies", *WHY, fails=4)["field"] == "own_part"
    assert deal("vera", "delegate", "end", begun["delegation"], *WHY, fails=2)["field"] == (
        "delegation"
    )
    (listed,) = deal("root", "delegate", "list")["delegations"]
    assert (listed["approver"], listed["group_id"]) == ("dora", "deputies")
    deal("dora", "delegate", "end", begun["delegation"], *WHY)
    assert deal("vera", "whoami")["stands_in_for"] == []
    assert deal("root", "groups", "remove", "deputies", "vera", *WHY)["groups"] == []
    assert deal("root", "groups", "list")["groups"][0]["members"] == []


def test_the_first_admin_comes_in_only_while_there_is_none(
    postgres: Postgres, deal: Deal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgres.migrated()
    asked = ("users", "bootstrap", "first", "--key-file", str(tmp_path / "first.key"), *WHY)
    assert deal("root", *asked, fails=2)["field"] == "DEAL_DATABASE_OWNER_URL"
    monkeypatch.setenv("DEAL_DATABASE_OWNER_URL", database.owner)
    monkeypatch.setenv("DEAL_DATABASE_URL", database.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", database.role("deal_control"))
    deal("root", *asked)
    assert deal("first", "whoami")["roles"] == ["admin"]
    again = ("users", "bootstrap", "other", "--key-file", str(tmp_path / "other.key"), *WHY)
    assert deal("root", *again, fails=4)["code"] == "not_allowed"
    assert not (tmp_path / "other.key").exists()
    # The key that has expired lets nobody in, and the owner makes another admin.
    change(database, "UPDATE control.api_keys SET revoked_at = now()")
    deal("root", *again)
    assert deal("other", "whoami")["roles"] == ["admin"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "eve", "--role", "admin", "--bank", "beta"),
        ("create", "eve", "--role", "admin", "--bank", "*"),
        ("set", "ann", "--bank", "alpha", "--bank", "beta"),
        ("set", "otto", "--role", "viewer"),
        ("disable", "otto"),
        ("key", "create", "otto", "--show-key"),
    ],
)
def test_an_admin_looks_after_people_of_his_own_banks_only(
    deal: Deal, office: Database, arguments: tuple[str, ...]
) -> None:
    add_principal(office, "ann", "trader", banks=("alpha",))
    add_principal(office, "otto", "trader", banks=("beta",))
    told = deal("root", "users", *arguments, *WHY, fails=4)
    assert (told["code"], told["field"], told["limit"]) == ("forbidden", "bank", "banks alpha")
