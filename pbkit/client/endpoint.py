"""
Client endpoint descriptions such as ``tcp:localhost:8787``. Twisted's own errors name parameters of its classes.
"""

from __future__ import annotations

import re

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.reflect import safe_str

from pbkit.errors import ConfigError


def clientEndpoint(reactor: object, description: str) -> IStreamClientEndpoint:
    """
    Return the endpoint for a description.

    :param reactor: what it connects with.
    :param description: such as ``tcp:localhost:8787``, ``tls:example.org:8787`` or ``unix:/path``.
    :raises ConfigError: the description is not valid; the text says what is expected.
    """
    reason = _error(description)
    if reason is None:
        # Importing this imports OpenSSL, which takes long, and programs with a transport of their own do not need it.
        from twisted.internet.endpoints import clientFromString

        try:
            endpoint: IStreamClientEndpoint = clientFromString(reactor, description)
            return endpoint
        except Exception as error:
            reason = f"{safe_str(error)}. Expected for example tcp:localhost:8787, tls:example.org:8787 or unix:/path"
    raise ConfigError(f"invalid endpoint {description!r}: {reason}")


def _error(description: str) -> str | None:
    """Return what is wrong with a description, for the common mistakes; None for any other."""
    # Split at colons that are not escaped.
    fields = re.split(r"(?<!\\):", description)
    named = dict(field.split("=", 1) for field in fields if "=" in field)
    kind, *values = [field for field in fields if "=" not in field] or [""]
    if kind == "unix":
        return None if values[:1] > [""] or "path" in named else "the path is missing, expected unix:PATH"
    if kind not in ("tcp", "ssl", "tls"):
        # A plugin may know other types.
        isAddress = len(values) == 1 and values[0].isdecimal()
        return f"the type is missing; did you mean tcp:{description}?" if isAddress else None
    host = named.get("host") or next(iter(values[:1]), "")
    port = named.get("port") or next(iter(values[1:] if "host" not in named else values), "")
    if not port and host.isdecimal():
        return f"the host is missing; did you mean {kind}:localhost:{host}?"
    if not host or not port:
        missing = "port" if host else "host"
        return f"the {missing} is missing, expected {kind}:HOST:PORT, for example {kind}:localhost:8787"
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        return f"invalid port {port!r}, expected 1 to 65535"
    return None
