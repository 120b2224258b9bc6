"""Reading the meters of a running stack: processor time, memory, and requests to the node."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from starters.local.stack import Stack

_SECONDS = 10.0


@dataclass(frozen=True)
class NodeUse:
    """HTTP requests to the node, and the JSON-RPC calls in them."""

    requests: float
    calls: float

    def since(self, before: NodeUse) -> NodeUse:
        """What was added."""
        return NodeUse(self.requests - before.requests, self.calls - before.calls)

    def each(self, deals: int) -> NodeUse:
        """The share of one of that many deals."""
        return NodeUse(self.requests / deals, self.calls / deals)


def node_use(stack: Stack) -> NodeUse:
    """What the chain worker's counters say; other processes do not talk to the node."""
    address = f"http://127.0.0.1:{stack.port('chain-metrics')}/metrics"
    with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    totals = {
        family.name: sum(s.value for s in family.samples if s.name.endswith("_total"))
        for family in families
    }
    return NodeUse(totals.get("deal_node_requests", 0), totals.get("deal_node_calls", 0))


def memory(stack: Stack) -> dict[str, int]:
    """Resident bytes of each component, its children included."""
    return {component.name: component.memory for component in stack.status()}


def processor_seconds(stack: Stack) -> dict[str, float]:
    """Processor time (user and system) of each component so far, and this process as `bench`."""
    spent = {
        component.name: _family_seconds(component.pid)
        for component in stack.status()
        if component.pid is not None
    }
    return spent | {"bench": _seconds(psutil.Process())}


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What was spent in between, most first."""
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    return dict(sorted(spent.items(), key=lambda item: item[1], reverse=True))


def _family_seconds(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    # Children that have ended and been waited for are in their parent's account.
    ended = process.cpu_times()
    return sum(map(_seconds, family)) + ended.children_user + ended.children_system


def _seconds(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
