"""Facts about network addresses by their text. Pure."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name that begins like an address is not one
        return False
