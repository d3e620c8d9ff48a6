"""
Recognizes clients of other protocols by their first bytes, so that the log can say what they are. Pure.
"""

from __future__ import annotations

#: The methods of HTTP requests. ``PRI`` is HTTP/2 without TLS.
_HTTP = tuple(
    method + b" " for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"PRI")
)


def foreignProtocol(start: bytes) -> str | None:
    """
    Return ``TLS``, ``HTTP``, ``SSH`` or ``PROXY protocol`` if a client's first bytes look like it, else None.

    :param start: the first bytes of the connection, as many as there are.
    """
    # A TLS record that contains a handshake, of version 3.x. TLS 1.3 still says 3.1 here.
    if start[:2] == b"\x16\x03":
        return "TLS"
    if start.startswith(_HTTP):
        return "HTTP"
    if start.startswith(b"SSH-"):
        return "SSH"
    if start.startswith((b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")):
        return "PROXY protocol"
    return None
