"""Where a request comes from, and whether it may come from there."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starters.api.settings import Network

Address = IPv4Address | IPv6Address


def client_address(
    peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]
) -> Address | None:
    """The address that asks: the peer's, or the rightmost one that no trusted proxy has.

    `forwarded` are the values of ``X-Forwarded-For`` in their order. What stands to the left of an
    address that is not trusted was written by whoever asks, and is not read. None if the peer has
    no address.
    """
    found = parse_address(peer or "")
    if found is None or not is_in(found, trusted):
        return found
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    for hop in reversed(hops):
        address = parse_address(hop)
        if address is None:  # a trusted proxy does not write this
            return found
        found = address
        if not is_in(address, trusted):
            return found
    return found


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Whether one of the networks has the address."""
    return any(address in network for network in networks if network.version == address.version)


def parse_address(text: str) -> Address | None:
    """Read an address, without its zone and IPv4 in its own form; None if it is none."""
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
