"""Which network addresses no document may be fetched from. Pure: no I/O.

``ipaddress`` alone does not tell: addresses of translation schemes count as global
there, whatever address they carry inside.
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")
_NEVER = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers and clouds, whose metadata it holds
        "168.63.129.16/32",  # Azure's own services, in every virtual network
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fec0::/10",
    )
)


def is_allowed(address: str) -> bool:
    """Whether an address is one of the public internet, however it is wrapped."""
    try:
        # A scope (fe80::1%eth0) only ever goes with local addresses.
        parsed = ip_address(address)
    except ValueError:
        return False
    return all(_is_public(inner) for inner in _unwrapped(parsed))


def _unwrapped(
    address: IPv4Address | IPv6Address,
) -> list[IPv4Address | IPv6Address]:
    """The addresses at which traffic to this one may end."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_loopback
        and not address.is_link_local
        and not address.is_unspecified
        and not any(
            address in network
            for network in _NEVER
            if network.version == address.version
        )
    )
