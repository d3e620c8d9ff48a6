"""
What an operator wants, as frozen dataclasses: from text, purely.

Nothing here imports a realm, opens a file or knows a reactor; whether the names that were given
mean anything is for `pbkit.service` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType

from pbkit.errors import ConfigError

#: The realm that is served unless another is asked for: what most programs want, one avatar for one
#: player, whoever holds it.
DEFAULT_REALM = "caching"

#: Where to listen unless told: pb's own port (`twisted.spread.pb.portno`), this machine only.
DEFAULT_LISTEN = "tcp:8787:interface=127.0.0.1"


@dataclass(frozen=True)
class RealmSpec:
    """
    Which realm, as text: ``limited:max=3``.

    :ivar name: a short name, or the dotted path of a class or an object.
    :ivar parameters: by key, the text of each value.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{key}={value}" for key, value in self.parameters.items())])


@dataclass(frozen=True)
class ServerConfig:
    """
    A server, as its operator describes it.

    :ivar realm: which realm it serves.
    :ivar avatar: the dotted path of the avatar class, or None for the realm's own.
    :ivar listen: descriptions of server endpoints, as `twisted.internet.endpoints.serverFromString`
        takes them; at least one.
    :ivar auth: descriptions of checkers, as `twisted.cred.strcred` takes them. They may hold passwords, so
        they are not shown with the rest.
    """

    realm: RealmSpec = field(default_factory=lambda: RealmSpec(DEFAULT_REALM))
    avatar: str | None = None
    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    auth: tuple[str, ...] = field(default=(), repr=False)


def splitDescription(text: str) -> list[tuple[str, ...]]:
    r"""
    Take apart a text like ``tcp:8787:interface=\:\:1``, with Twisted's own rules for endpoint strings:
    a colon separates, the first ``=`` of a field ends its key, a backslash takes the meaning
    from the next character.

    :return: for each field ``(value,)`` or ``(key, value)``.
    :raises ConfigError: the text ends in a backslash that escapes nothing.
    """
    fields: list[tuple[str, ...]] = []
    done: tuple[str, ...] = ()
    current = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ConfigError(f"{text!r} ends in a backslash: write two for one that is meant as such")
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


def parseRealm(text: str) -> RealmSpec:
    """
    :param text: ``NAME`` or ``NAME:key=value:key=value``.
    :return: what it says; whether there is such a realm or key is not looked at.
    :raises ConfigError: it is not of that form, or a key is given twice.
    """
    first, *rest = splitDescription(text)
    if len(first) != 1 or not first[0]:
        raise ConfigError(f"realm {text!r}: it is written NAME or NAME:key=value, for example limited:max=3")
    parameters: dict[str, str] = {}
    for pair in rest:
        if len(pair) != 2 or not pair[0]:
            raise ConfigError(
                f"realm {text!r}: {'='.join(pair)!r} is not key=value, as in limited:max=3 "
                "(write \\: for a colon within a value)"
            )
        key, value = pair
        if key in parameters:
            raise ConfigError(f"realm {text!r}: {key} is given twice")
        parameters[key] = value
    return RealmSpec(first[0], MappingProxyType(parameters))


#: For the endpoints that bind to an interface: at which field it stands when it is given without its
#: key, counted from the type, as `twisted.internet.endpoints` has it.
_INTERFACE_AT = {"tcp": 2, "ssl": 5, "tcp6": 3}


def loopbackOnly(description: str) -> bool:
    """
    Whether a server listening there can be reached from this machine only.

    Unsure means no: an interface that is a name other than ``localhost``, a type of endpoint that is not
    known, and ``haproxy:``, whatever it wraps, for a proxy is there to let others in.

    :param description: of a server endpoint.
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
    # Twisted takes the last of several; with a mixture of both it fails. All must be loopback.
    interfaces = named + positional[_INTERFACE_AT[kind] : _INTERFACE_AT[kind] + 1]
    return bool(interfaces) and all(map(_isLoopback, interfaces))


def _isLoopback(interface: str) -> bool:
    if interface == "localhost":
        return True
    try:
        return ip_address(interface).is_loopback
    except ValueError:
        return False
