"""
What a server that nobody told who may log in says on the terminal: who may, and a line to paste.

It goes to the terminal and never through the log, for it holds a password.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import quoteStringArgument


@dataclass(frozen=True)
class Guest:
    """The one user of a server that was started without checkers, for this run only."""

    name: str = "guest"
    #: 96 bits: a challenge and its answer that somebody overheard are of no use to him.
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)


def lines(guest: Guest | None, method: str, places: Sequence[tuple[str, Any]]) -> list[str]:
    """
    :param guest: None if log-ins are anonymous.
    :param method: what the lines to paste call.
    :param places: the description of each server endpoint, and the address where it listens.
    :return: what to print: the last lines, one for each place, are to be pasted into a shell.
    """
    if guest is None:
        told = ["no --auth was given: anybody on this machine may log in, anonymously. Try:"]
        before, who = "", "--anonymous"
    else:
        told = [
            "no --auth was given: for this run there is one user. Try:",
            f"  user:     {guest.name}",
            f"  password: {guest.password}",
        ]
        before, who = f"PBKIT_PASSWORD={shlex.quote(guest.password)} ", f"--user {guest.name}"
    for description, address in places:
        where = shlex.quote(clientDescription(description, address))
        told.append(f"  {before}{command()} call {where} {method} {who}")
    return told


def clientDescription(description: str, address: Any) -> str:
    """
    The client endpoint that reaches a server endpoint.

    :param description: of the server endpoint.
    :param address: where that listens.
    """
    if isinstance(address, UNIXAddress):
        name = address.name or b""
        return f"unix:{quoteStringArgument(os.path.abspath(os.fsdecode(name)))}"
    kind = "ssl" if description.startswith("ssl:") else "tcp"
    return f"{kind}:{quoteStringArgument(address.host)}:{address.port}"


def command() -> str:
    """
    :return: how the `pbkit` command that belongs to this process is called from a shell.
    """
    beside = os.path.join(os.path.dirname(sys.executable), "pbkit")
    found = shutil.which("pbkit")
    if found is not None and os.path.exists(beside) and os.path.samefile(found, beside):
        return "pbkit"
    if os.access(beside, os.X_OK):
        return shlex.quote(beside)
    return f"{shlex.quote(sys.executable)} -m pbkit.cli"
