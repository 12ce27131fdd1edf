"""The address of a request's client, as rate limits count it."""

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from litestar.connection import ASGIConnection

IPV6_PREFIX = 64
MAX_LENGTH = 64


def client_address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """An IPv4 address, or the /64 network of an IPv6 address: one client has all 2^64 addresses of its network.

    Behind a trusted proxy (`QUADRILLE_TRUSTED_PROXIES`) it is the address that the proxy reports.
    """
    host = connection.client.host if connection.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host[:MAX_LENGTH]  # a proxy may write "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address.packed, IPV6_PREFIX), strict=False))
