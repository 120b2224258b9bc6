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

OTHERS = "(everything else)"

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
    """Resident bytes of each component; what a server shares with its children is counted once."""
    return {
        component.name: _family_bytes(component.pid)
        for component in stack.status()
        if component.pid is not None
    }


def processor_seconds(stack: Stack) -> dict[str, float]:
    """Processor time (user and system) of each component so far, and this process as `bench`.

    `OTHERS` is all the rest of the machine.
    """
    spent = {
        component.name: _family_seconds(component.pid)
        for component in stack.status()
        if component.pid is not None
    } | {"bench": _seconds(psutil.Process())}
    times = psutil.cpu_times()
    # What runs at a lower priority is counted apart, on Linux.
    everything = float(times.user + times.system + getattr(times, "nice", 0.0))
    return spent | {OTHERS: everything - sum(spent.values())}


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What was spent in between, most first."""
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    return dict(sorted(spent.items(), key=lambda item: item[1], reverse=True))


def _family(pid: int) -> list[psutil.Process]:
    """The process, first, and its children; empty if it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _family_seconds(pid: int) -> float:
    family = _family(pid)
    total = sum(map(_seconds, family))
    with suppress(psutil.Error, IndexError):
        # Children that have ended and been waited for are in their parent's account.
        ended = family[0].cpu_times()
        total += ended.children_user + ended.children_system
    return total


def _family_bytes(pid: int) -> int:
    own, shared = 0, [0]
    for process in _family(pid):
        with suppress(psutil.Error):
            used = process.memory_info()
            common = getattr(used, "shared", 0)  # known on Linux only
            own += used.rss - common
            shared.append(common)
    return own + max(shared)


def _seconds(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
