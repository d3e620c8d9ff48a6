"""
The announcement of a server that was started without ``--auth``: who can log in, and a command line to paste.

It is shown on the terminal and never logged, because it contains a password.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IAddress


@dataclass(frozen=True)
class Guest:
    """The only user of a server that was started without checkers. The password is valid for this run."""

    name: str = "guest"
    #: 96 bits: enough that the password cannot be searched for with an overheard challenge and its answer.
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)


def announcement(guest: Guest | None, method: str, listeners: Sequence[tuple[str, IAddress]]) -> list[str]:
    """
    Return the lines to show. The last ones, one per listener, are commands to paste into a shell.

    :param guest: None if logins are anonymous.
    :param method: the method that the commands call.
    :param listeners: the description and the address of each listener.
    """
    if guest is None:
        lines = ["no --auth was given, so anyone on this machine can log in anonymously. Try:"]
        variables, user = "", "--anonymous"
    else:
        lines = [
            "no --auth was given, so there is one user, for this run only. Try:",
            f"  user:     {guest.name}",
            f"  password: {guest.password}",
        ]
        variables, user = f"PBKIT_PASSWORD={shlex.quote(guest.password)} ", f"--user {guest.name}"
    for description, address in listeners:
        endpoint = shlex.quote(clientDescription(description, address))
        lines.append(f"  {variables}{command()} call {endpoint} {method} {user}")
    return lines


def clientDescription(description: str, address: IAddress) -> str:
    """
    Return the client endpoint that connects to a listener.

    :param description: the server endpoint.
    :param address: the address it listens on.
    """
    if isinstance(address, UNIXAddress):
        name = address.name or b""
        return f"unix:{quoteStringArgument(os.path.abspath(os.fsdecode(name)))}"
    assert isinstance(address, IPv4Address | IPv6Address)
    kind = "ssl" if description.startswith("ssl:") else "tcp"
    return f"{kind}:{quoteStringArgument(address.host)}:{address.port}"


def command() -> str:
    """Return the shell command that runs the `pbkit` command of this Python installation."""
    beside = os.path.join(os.path.dirname(sys.executable), "pbkit")
    found = shutil.which("pbkit")
    if found is not None and os.path.exists(beside) and os.path.samefile(found, beside):
        return "pbkit"
    if os.access(beside, os.X_OK):
        return shlex.quote(beside)
    return f"{shlex.quote(sys.executable)} -m pbkit.cli"
