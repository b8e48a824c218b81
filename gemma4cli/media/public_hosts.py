"""Which addresses of the network a host stands for, and whether they are open to everybody.

A redirect must not reach what only this machine or its network can: routers, services on this
machine, the credentials that clouds serve at 169.254.169.254.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ..lookups import look_up

Resolved = tuple[tuple[int, tuple[Any, ...]], ...]
"""Addresses to connect to, in the order to try: the family, and what its sockets connect to."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


def resolve(host: str, port: int, seconds: float) -> Resolved:
    """The addresses of a host.

    Raises OSError, also after ``seconds``, and ValueError for a name that cannot be one.

    Decimal, hexadecimal and octal forms such as ``0x7f.1`` become the addresses they stand for.
    """
    found = look_up(host, port, seconds)
    return tuple((family, place) for family, _, _, _, place in found)


def are_public(resolved: Resolved) -> bool:
    """Whether every address is one of the public network."""
    return all(is_public(str(place[0])) for _, place in resolved)


def is_public(number: str) -> bool:
    """Whether an address such as "127.0.0.1" is public, also where IPv6 wraps an IPv4 one."""
    return all(
        each.is_global
        and not each.is_multicast
        and not (each.version == 6 and (each.is_site_local or each in _LOCAL_NAT64))
        for each in _meant(ipaddress.ip_address(number.partition("%")[0]))
    )


def _meant(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    """The addresses that one leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    if address in _NAT64 or int(address) >> 32 == 0:  # ::127.0.0.1 is an old form
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)
