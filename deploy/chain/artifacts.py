"""Compiled contracts: ours, compiled here, and the protocols', from their npm packages."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from deploy.chain.errors import ChainError
from deploy.chain.locks import exclusive
from deploy.chain.packages import node_tool
from deploy.chain.paths import (
    BUILD_DIR,
    CHAIN_DIR,
    COMPILE_SCRIPT,
    NODE_MODULES,
    digest,
    solidity_sources,
    write_whole,
)
from deploy.chain.progress import announce

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

AAVE = "@aave/core-v3/artifacts/contracts"
OPENZEPPELIN = "@openzeppelin/contracts/build/contracts"
SAFE = "@safe-global/safe-contracts/build/artifacts/contracts"
UNISWAP_CORE = "@uniswap/v3-core/artifacts/contracts"
UNISWAP_PERIPHERY = "@uniswap/v3-periphery/artifacts/contracts"
MULTICALL = "viem/_cjs/constants/contracts.js"

ADDRESS_BYTES = 20


@dataclass(frozen=True)
class Artifact:
    """A compiled contract.

    `bytecode` is the creation code in hexadecimal with 0x, `runtime` what it leaves at its address
    (only known of our own contracts); `links` gives, for each library it
    needs, the byte offsets at which that library's address belongs.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    links: Mapping[str, list[int]] = field(default_factory=dict)
    runtime: str = ""

    def linked(self, libraries: Mapping[str, str]) -> str:
        """Return the creation code with the libraries' addresses put in.

        Raises:
            KeyError: a library it needs is not among `libraries`.

        """
        code = self.bytecode.removeprefix("0x")
        for library, offsets in self.links.items():
            address = libraries[library].removeprefix("0x").lower()
            for offset in offsets:
                code = code[: offset * 2] + address + code[(offset + ADDRESS_BYTES) * 2 :]
        return "0x" + code


def packaged(folder: str, file: str) -> Artifact:
    """Load an artifact of an npm package; `file` is relative to `folder`, without `.json`."""
    content = json.loads((NODE_MODULES / folder / f"{file}.json").read_text())
    links = {
        library: [reference["start"] for reference in references]
        for libraries in content.get("linkReferences", {}).values()
        for library, references in libraries.items()
    }
    return Artifact(content["contractName"], content["abi"], content["bytecode"], links)


def multicall() -> Artifact:
    """Load Multicall3; viem carries its creation code, and nothing here calls it by ABI."""
    text = (NODE_MODULES / MULTICALL).read_text()
    found = re.search(r"multicall3Bytecode = '(0x[0-9a-f]{200,})'", text)
    if found is None:
        message = f"{MULTICALL} holds no multicall3Bytecode: has viem's version changed?"
        raise ChainError(message)
    return Artifact("Multicall3", [], found[1])


def own(name: str) -> Artifact:
    """Load a contract of `contracts/`, which `compile_contracts` has compiled before."""
    contract = _own_contracts()[name]
    return Artifact(name, contract["abi"], contract["bytecode"], runtime=contract["runtime"])


@cache
def _own_contracts() -> dict[str, Any]:
    contracts: dict[str, Any] = json.loads(compile_contracts().read_text())
    return contracts


def compile_contracts() -> Path:
    """Compile our Solidity unless that was done for these sources; return the file of artifacts.

    Raises:
        ChainError: Node.js is missing, or the compiler has something to say.

    """
    target = BUILD_DIR / f"contracts-{digest(solidity_sources())}.json"
    if not target.is_file():
        with exclusive(BUILD_DIR):
            if not target.is_file():
                _compile(target)
    return target


def _compile(target: Path) -> None:
    announce("compiling contracts")
    command = [node_tool("node"), str(COMPILE_SCRIPT)]
    result = subprocess.run(  # noqa: S603 - our own script
        command, cwd=CHAIN_DIR, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        message = f"Solidity does not compile: {result.stderr.strip()}"
        raise ChainError(message)
    for old in BUILD_DIR.glob("contracts-*.json"):
        old.unlink()
    write_whole(target, result.stdout)
