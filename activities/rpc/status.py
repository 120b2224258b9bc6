"""How one endpoint stands, for people: without its address, which may hold a key."""

from pydantic import BaseModel, ConfigDict

from activities.rpc.circuit import CircuitState


class EndpointStatus(BaseModel):
    """One endpoint as its pool sees it."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Counted from 1 over those for reading, then those for submission."""
    label: str
    private: bool = False
    """Whether it only takes transactions, and keeps them to itself."""
    healthy: bool
    """Whether it is used now: answers, is of the right chain, and does not lag."""
    circuit: CircuitState
    head: int | None = None
    lag: int | None = None
    """Blocks behind the others, as far as is known."""
    latency_ms: float | None = None
    chain_id_ok: bool | None = None
    """None: not asked yet, or not since it was away."""
    last_error: str | None = None
    weight: int
