"""Chain profiles from ``<config dir>/<chain id>.toml`` and the address manifest each names.

Endpoints are a deployment's own affair: ``DEAL_CHAIN_<id>_ENDPOINTS`` (comma separated) replaces
the ones in the file, ``DEAL_CHAIN_<id>_SUBMISSION_ENDPOINTS`` the private relays. They may hold a
provider's key, so no error repeats one, and keys in them are masked in whatever else is told.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from domain.chains import ChainProfile, EndpointProfile
from domain.deals import invalid_input_from
from domain.errors import InvalidConfiguration, Problem
from domain.identifiers import ChainId
from domain.masking import remember_address

_ALWAYS_NEEDED = (
    "aave_data_provider",
    "aave_oracle",
    "aave_pool",
    "multicall3",
    "uniswap_quoter",
    "uniswap_router",
)
"""Contracts that are called by these names, whatever the module."""
_CONTRACT_FIELDS = (
    "par_token",
    "discount_token",
    "collateral",
    "collateral_receipt",
    "debt_token",
    "pool",
    "redemption",
    "par_feed",
    "discount_feed",
)


_ENDPOINT_FIELDS = ("endpoints", "submission_endpoints")
_SHOWN_OF_ENDPOINTS = ("name", "weight")


def load_profiles(
    config_dir: Path, environment: Mapping[str, str] | None = None
) -> dict[ChainId, ChainProfile]:
    """Load every profile of a folder; raise `InvalidConfiguration` naming file and field."""
    files = sorted(config_dir.glob("[0-9]*.toml"))
    if not files:
        raise InvalidConfiguration(
            "there is no chain profile",
            field="DEAL_CONFIG_DIR",
            value=config_dir,
            limit="at least one <chain id>.toml",
            next_action="point DEAL_CONFIG_DIR to the folder with the chain profiles",
        )
    variables = os.environ if environment is None else environment
    profiles = [_load(file, variables) for file in files]
    return {profile.chain_id: profile for profile in profiles}


def load_profiles_without_nodes(
    config_dir: Path, environment: Mapping[str, str] | None = None
) -> dict[ChainId, ChainProfile]:
    """Load the profiles for a process that must have no way to a node: without any endpoint.

    Raises `InvalidConfiguration` as `load_profiles` does, and if the environment names one.
    """
    variables = os.environ if environment is None else environment
    for name in variables:
        if name.startswith("DEAL_CHAIN_") and name.endswith("_ENDPOINTS"):
            raise InvalidConfiguration(
                "the signer is given a node's endpoint, and must have none",
                field=name,
                limit="not set for the signer",
                next_action=f"take {name} out of the signer's environment",
            )
    nothing: dict[str, Any] = dict.fromkeys(_ENDPOINT_FIELDS, ())
    return {
        chain_id: profile.model_copy(update=nothing)
        for chain_id, profile in load_profiles(config_dir, {}).items()
    }


def _load(file: Path, variables: Mapping[str, str]) -> ChainProfile:
    fields = _read(file, tomllib.loads)
    manifest_file = file.with_name(str(fields.pop("addresses", f"{file.stem}.addresses.json")))
    manifest = _read(manifest_file, json.loads)
    fields["contracts"] = manifest.get("contracts")
    sources = _take_endpoints(file, fields, variables)
    try:
        profile = ChainProfile.model_validate(fields)
    except ValidationError as error:
        problem = invalid_input_from(error).problem
        raise _wrong(file, problem.field, _showable(problem), problem.limit) from None
    for endpoint in (*profile.endpoints, *profile.submission_endpoints):
        remember_address(endpoint.url.get_secret_value())
    for field, source in sources.items():
        _check_endpoints(profile, getattr(profile, field), source)
    for name in _ALWAYS_NEEDED:
        if name not in profile.contracts:
            raise _wrong(manifest_file, f"contracts.{name}", None, "the address of that contract")
    _check_consistent(file, profile, manifest)
    return profile


def _read(file: Path, parse: Any) -> dict[str, Any]:  # noqa: ANN401 - a parser of either format
    try:
        return dict(parse(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise _wrong(file, "file", error.strerror, "a readable file") from None
    except (ValueError, TypeError) as error:
        raise _wrong(file, "file", str(error), f"well-formed {file.suffix[1:].upper()}") from None


def _take_endpoints(
    file: Path, fields: dict[str, Any], variables: Mapping[str, str]
) -> dict[str, str]:
    """Put the environment's endpoints in place of the file's; tell where each list came from."""
    sources: dict[str, str] = {}
    for field in _ENDPOINT_FIELDS:
        variable = f"DEAL_CHAIN_{fields.get('chain_id')}_{field.upper()}"
        given = variables.get(variable)
        if given:
            fields[field] = [endpoint.strip() for endpoint in given.split(",")]
        sources[field] = variable if given else f"{file.name}: {field}"
    return sources


def _showable(problem: Problem) -> str | None:
    """The value of a problem, unless it may be an endpoint's address."""
    path = (problem.field or "").split(".")
    if path[0] in _ENDPOINT_FIELDS and path[-1] not in _SHOWN_OF_ENDPOINTS:
        return None
    return problem.value


def _check_endpoints(profile: ChainProfile, endpoints: list[EndpointProfile], source: str) -> None:
    for number, endpoint in enumerate(endpoints, start=1):
        if not _is_http(endpoint.url.get_secret_value()):
            raise InvalidConfiguration(
                f"endpoint {number} of chain {profile.chain_id} is no address of a node",
                field=source,
                value=f"endpoint {number}",
                limit="http://host:port or https://host",
                next_action=f"correct {source}, then run `deal config check`",
            )


def _is_http(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_consistent(file: Path, profile: ChainProfile, manifest: dict[str, Any]) -> None:
    """The file's name, its chain id and the manifest's must agree; names must be in it."""
    if file.stem != str(profile.chain_id):
        raise _wrong(file, "chain_id", profile.chain_id, f"{file.stem}, as the file is called")
    if manifest.get("chain_id") != profile.chain_id:
        raise _wrong(file, "addresses.chain_id", manifest.get("chain_id"), f"{profile.chain_id}")
    for name, module in profile.modules.items():
        for field in _CONTRACT_FIELDS:
            contract = getattr(module, field)
            if contract is not None and contract not in profile.contracts:
                raise _wrong(
                    file, f"modules.{name}.{field}", contract, "a name in the address manifest"
                )


def _wrong(file: Path, field: str | None, value: object, limit: str | None) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"{file.name}: {field} is not usable",
        field=f"{file.name}: {field}",
        value=value,
        limit=limit,
        next_action=f"correct {file.name}, then run `deal config check`",
    )
