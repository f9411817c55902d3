"""Where servers listen, and how they are reached."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

from ...errors import InvalidInputError

LAST_PORT = 65535
LOOPBACK = "127.0.0.1"
_TRIES = 20


def check_free(host: str, ports: range) -> None:
    """See to it that `ports` can be listened on.

    Raises:
        InvalidInputError: one of them cannot, and why.
    """
    if ports[-1] > LAST_PORT:
        raise InvalidInputError(
            f"{len(ports)} ports from {ports[0]} on go beyond {LAST_PORT}; give a lower --port"
        )
    for port in ports:
        _try_to_listen(host, port)


def _try_to_listen(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            tried.bind(address)
    except OSError as error:
        raise InvalidInputError(
            f"cannot listen on port {port} of {host}: {error.strerror or error}; stop what listens "
            "there, or give another --port or --host"
        ) from None


def free_ports(count: int) -> range:
    """Ports of the loopback, one after the other, on which nobody listens now.

    Raises:
        InvalidInputError: none were found.
    """
    for _ in range(_TRIES):
        with socket.create_server((LOOPBACK, 0)) as tried:
            first = int(tried.getsockname()[1])
        ports = range(first, first + count)
        with contextlib.suppress(InvalidInputError):
            check_free(LOOPBACK, ports)
            return ports
    raise InvalidInputError(f"no {count} free ports in a row were found on {LOOPBACK}")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    address = _parsed(host)
    return address.is_loopback if address else host == "localhost"


def near(host: str) -> str:
    """The address by which this machine reaches what listens on `host`."""
    address = _parsed(host)
    if address is None or not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def url(host: str, port: int, scheme: str = "http") -> str:
    """What a client is given; the name of this machine where `host` is every address."""
    address = _parsed(host)
    if address is not None and address.is_unspecified:
        host = socket.gethostname()
    elif address is not None and address.version == 6:
        host = f"[{host}]"
    return f"{scheme}://{host}:{port}"


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
