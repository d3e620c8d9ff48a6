"""
Users and addresses that may not log in for some time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import attrs
from twisted.logger import Logger

from pbkit.errors import ConfigError, LoginBanned, shownValue
from pbkit.plain import sendable

Network: TypeAlias = IPv4Network | IPv6Network

#: How many bans a realm keeps. One takes about half a kilobyte.
MOST = 10_000

#: The most bytes of a reason, which a client is told before it has logged in.
REASON = 1000

log = Logger()


@attrs.frozen
class Ban:
    """
    A ban of a user or an address.

    :ivar avatarId: the user, or None.
    :ivar address: a host or a network as text, such as ``192.0.2.7/32``, or None.
    :ivar left: how many seconds it still lasts.
    :ivar reason: a sentence for people, or "".
    """

    avatarId: str | None
    address: str | None
    left: float
    reason: str


def networkOf(address: object) -> Network:
    """
    Return the network that an address stands for.

    :param address: an `IAddress` of TCP, an IP address, or a network such as ``192.0.2.0/24``.
    :raises ConfigError: it is something else.
    """
    text: object = getattr(address, "host", address)
    try:
        if not isinstance(text, str):
            raise ValueError
        # Cut the zone of "fe80::1%eth0": it names a network interface of this machine.
        network = ip_network(text.partition("%")[0])
    except ValueError:
        expected = "an IP address such as 192.0.2.7, or a network such as 192.0.2.0/24"
        raise ConfigError.invalid("address", shownValue(text), expected) from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        # A server that listens on "::" sees IPv4 clients under such an address.
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def hostOf(address: object) -> IPv4Address | IPv6Address | None:
    """
    Return the IP address in an `IAddress`.

    :param address: an `IAddress`, or None.
    :return: None if there is none: a Unix socket has no IP address.
    """
    try:
        host = ip_address(getattr(address, "host", "").partition("%")[0])
    except (ValueError, AttributeError):
        return None
    mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
    return host if mapped is None else mapped


class Bans:
    """
    The bans of a realm. There is no timer: a ban that is over is forgotten when it is found, or when there are many.

    :param seconds: returns the present time, in seconds.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._bans: dict[str | Network, tuple[float, str]] = {}
        # How many networks there are for each IP version and prefix length. A host is looked up once for each of these.
        self._prefixes: dict[tuple[int, int], int] = {}
        self._tidyAt = 64

    def __bool__(self) -> bool:
        """Return whether there may be any bans."""
        return bool(self._bans)

    def __iter__(self) -> Iterator[Ban]:
        self._tidy()
        now = self._seconds()
        for who, (until, reason) in self._bans.items():
            isUser = isinstance(who, str)
            yield Ban(who if isinstance(who, str) else None, None if isUser else str(who), until - now, reason)

    def add(self, who: str | Network, seconds: float, reason: str) -> None:
        """
        Add a ban that begins now. It replaces an earlier one of the same user or network.

        :param who: an avatar id, or a network.
        :raises ConfigError: the time is not a number of seconds above 0.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise ConfigError.invalid("time", shownValue(seconds), "a number of seconds above 0")
        self.remove(who)
        if len(self._bans) >= self._tidyAt:
            self._tidy()
        self._bans[who] = (self._seconds() + seconds, sendable(reason, REASON))
        if not isinstance(who, str):
            prefix = (who.version, who.prefixlen)
            self._prefixes[prefix] = self._prefixes.get(prefix, 0) + 1

    def remove(self, who: str | Network) -> bool:
        """
        Remove a ban.

        :return: whether there was one.
        """
        found = self._bans.pop(who, None)
        if found is not None and not isinstance(who, str):
            prefix = (who.version, who.prefixlen)
            self._prefixes[prefix] -= 1
            if not self._prefixes[prefix]:
                del self._prefixes[prefix]
        return found is not None and found[0] > self._seconds()

    def check(self, avatarId: str | None, address: object) -> None:
        """
        Check a login.

        :param address: the `IAddress` of the client, or None.
        :raises LoginBanned: the user or the address is banned. The text has the time that is left.
        """
        if not self._bans:
            return
        if avatarId is not None:
            self._check(avatarId)
        host = hostOf(address) if self._prefixes else None
        if host is not None:
            for version, length in tuple(self._prefixes):
                if version == host.version:
                    self._check(ip_network((host, length), strict=False))

    def _check(self, who: str | Network) -> None:
        until, reason = self._bans.get(who, (-math.inf, ""))
        left = until - self._seconds()
        if left > 0:
            raise LoginBanned(f"banned for another {math.ceil(left)} s" + (f": {reason}" if reason else ""))
        if until > -math.inf:
            self.remove(who)

    def _tidy(self) -> None:
        now = self._seconds()
        for who in [who for who, (until, _) in self._bans.items() if until <= now]:
            self.remove(who)
        if len(self._bans) >= MOST:
            # Memory is limited, so forget the ban that would be over first.
            soonest = min(self._bans, key=lambda who: self._bans[who][0])
            log.warn(
                "there are {most} bans, which is the limit: the ban of {who} was forgotten before its time",
                most=MOST,
                who=str(soonest),
            )
            self.remove(soonest)
        # The limit grows with the table, so that this search costs little for each ban that is added.
        self._tidyAt = min(MOST, max(64, 2 * len(self._bans)))
