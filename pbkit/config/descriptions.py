"""
Server endpoint descriptions such as ``tcp:8787:interface=127.0.0.1``: what they say, and what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from pbkit.errors import ConfigError


def splitDescription(text: str) -> list[tuple[str, ...]]:
    r"""
    Split a description such as ``tcp:8787:interface=\:\:1`` by Twisted's rules for endpoint strings: a colon separates
    fields, the first ``=`` of a field ends its key, a backslash escapes the next character.

    :return: ``(value,)`` or ``(key, value)`` for each field.
    :raises ConfigError: the text ends in a single backslash.
    """
    fields: list[tuple[str, ...]] = []
    done: tuple[str, ...] = ()
    current = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ConfigError(f"invalid description {text!r}: trailing backslash, write two for a literal one")
            current += escaped
        elif character == ":":
            fields.append((*done, current))
            done, current = (), ""
        elif character == "=" and not done:
            done, current = (current,), ""
        else:
            current += character
    fields.append((*done, current))
    return fields


#: The listen backlog of a listener whose description does not set one. Twisted's default of 50 is too small, because
#: more clients than that reconnect at once after a restart. Beyond the backlog Linux answers with SYN cookies and may
#: lose the end of the handshake; as the server speaks first in PB, such a client hangs until TCP gives up.
#: The kernel caps the value at ``net.core.somaxconn``, which is also 4096 since Linux 5.4.
BACKLOG = 4096

#: The index of the backlog in a description when it is given without its key, counted as in `_INTERFACE_AT`.
_BACKLOG_AT = {"tcp": 3, "ssl": 6, "tcp6": 2, "tls": 3, "unix": 3}

#: The index of the port in a description when it is given without its key.
_PORT_AT = {"tcp": 1, "ssl": 1, "tcp6": 1, "tls": 2}

#: For endpoints that bind to an interface: the index of the interface when it is given without its key, counted from
#: the type as in `twisted.internet.endpoints`.
_INTERFACE_AT = {"tcp": 2, "ssl": 5, "tcp6": 3}


def isLoopbackOnly(description: str) -> bool:
    """
    Return True if a server that listens there is reachable from this machine only.

    In doubt the answer is False: for an interface that is a name other than ``localhost``, for an unknown type of
    endpoint, and for ``haproxy:`` with any endpoint, because a proxy is there to forward other machines' connections.

    :param description: a server endpoint description.
    """
    try:
        fields = splitDescription(description)
    except ConfigError:
        return False
    if len(fields[0]) != 1:
        return False
    kind = fields[0][0]
    if kind == "unix":
        return True
    if kind not in _INTERFACE_AT:
        return False
    positional = [one[0] for one in fields if len(one) == 1]
    named = [one[1] for one in fields if len(one) == 2 and one[0] == "interface"]
    # Twisted uses the last of several interfaces, and fails on a mixture of both forms. Require loopback for all.
    interfaces = named + positional[_INTERFACE_AT[kind] : _INTERFACE_AT[kind] + 1]
    return bool(interfaces) and all(map(_isLoopback, interfaces))


def portOf(description: str) -> str | None:
    """
    Return the port of a listener, or None if it has none.

    :param description: a server endpoint description.
    """
    return _field(description, _PORT_AT, "port")


def portError(description: str) -> str | None:
    """
    Return what is wrong with the port of a listener, or None.

    `serverFromString` accepts any integer, and reports anything else as a failed conversion.

    :param description: a server endpoint description. One of an unknown type has no error here.
    """
    port = portOf(description)
    if port is None or (port.isascii() and port.isdecimal() and int(port) <= 65535):
        return None
    advice = ""
    if not port.lstrip("+-").isdecimal():
        advice = "; the address is given as interface=, for example tcp:8787:interface=127.0.0.1"
    return f"invalid port {port!r}, expected 0 to 65535{advice}"


def unixPath(description: str) -> str | None:
    """
    Return the path of a Unix socket listener, or None for other listeners.

    :param description: a server endpoint description.
    """
    return _field(description, {"unix": 1}, "address")


def privateKeyPath(description: str) -> str | None:
    """
    Return the path of the private key of a TLS listener, or None for other listeners.

    :param description: a server endpoint description.
    """
    path = _field(description, {"ssl": 2}, "privateKey")
    # The default of `twisted.internet.endpoints`.
    return "server.pem" if path is None and portOf(description) and "ssl" in description.split(":")[:2] else path


def _field(description: str, at: Mapping[str, int], name: str) -> str | None:
    try:
        fields = splitDescription(description)
    except ConfigError:
        return None
    positional = [one[0] for one in fields if len(one) == 1]
    while positional[:1] == ["haproxy"]:
        del positional[0]
    index = at.get(positional[0]) if positional else None
    if index is None:
        return None
    named = [one[1] for one in fields if len(one) == 2 and one[0] == name]
    return next(iter(named + positional[index : index + 1]), None)


def _isLoopback(interface: str) -> bool:
    if interface == "localhost":
        return True
    try:
        return ip_address(interface).is_loopback
    except ValueError:
        return False


def withBacklog(description: str) -> str:
    """
    Return the description with ``backlog=`` `BACKLOG` added, if it sets no backlog itself.

    :param description: a server endpoint description. One of an unknown type, or one that cannot be parsed, is returned
        unchanged: Twisted's own parser reports the error.
    """
    try:
        fields = splitDescription(description)
    except ConfigError:
        return description
    positional = [one[0] for one in fields if len(one) == 1]
    while positional[:1] == ["haproxy"]:
        # A prefix to the description of the real listener.
        del positional[0]
    at = _BACKLOG_AT.get(positional[0]) if positional else None
    if at is None or len(positional) > at or any(one[0] == "backlog" for one in fields if len(one) == 2):
        return description
    return f"{description}:backlog={BACKLOG}"
