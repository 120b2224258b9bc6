"""The signing policy from ``<config dir>/signing-policy.toml``."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from activities.signing.document import PolicyDocument
from activities.signing.rules import SigningPolicy, compile_policy
from domain.chains import ChainProfile
from domain.deals import invalid_input_from
from domain.errors import InvalidConfiguration
from domain.identifiers import ChainId

POLICY_FILE: Final = "signing-policy.toml"


def load_signing_policy(
    config_dir: Path, profiles: Mapping[ChainId, ChainProfile]
) -> SigningPolicy:
    """Load the policy of a folder, and hold it against the chains it speaks of.

    Raises `InvalidConfiguration` naming the file and the field; without a file nothing is signed.
    """
    file = config_dir / POLICY_FILE
    try:
        return compile_policy(_read(file), profiles)
    except InvalidConfiguration as error:
        field = f"{POLICY_FILE}: {error.problem.field}"
        raise InvalidConfiguration.from_problem(
            error.problem.model_copy(update={"field": field})
        ) from None


def _read(file: Path) -> PolicyDocument:
    try:
        return PolicyDocument.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise _wrong("file", error.strerror, "a readable file") from None
    except ValidationError as error:
        problem = invalid_input_from(error).problem
        raise _wrong(problem.field, problem.value, problem.limit) from None
    except ValueError as error:
        raise _wrong("file", str(error), "well-formed TOML in UTF-8") from None


def _wrong(field: str | None, value: object, limit: object) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"the signing policy's {field} is not usable",
        field=field,
        value=value,
        limit=limit,
        next_action="correct the signing policy, then run `deal config check`",
    )
