"""
What is in force, as a configuration file that says of each value where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pbkit.config.bounds import leaves
from pbkit.config.file import HIDDEN
from pbkit.config.values import BACKLOG, Origin, Path, ServerConfig, withBacklog
from pbkit.serving.plan import Plan
from pbkit.serving.resolve import describe, findRealm, shownClass
from pbkit.sessions.realm import Realm

#: The kinds of checkers whose descriptions hold no password.
_OPEN = ("file", "anonymous")

_HEAD = """\
# What is in force, and where each value comes from. It can be loaded with --config.
"""

_HIDDEN_NOTE = """\
# A checker that begins with "hidden:" may hold passwords, so it is not shown: put its description back before loading.
"""


def asToml(plan: Plan) -> str:
    """
    :return: TOML. What may hold a password is not in it; a text that no description of a checker can be stands there,
        so that loading it is an error rather than a server with other users.
    """
    config = plan.config
    auth = [text if text.partition(":")[0] in _OPEN else HIDDEN + text.partition(":")[0] for text in config.auth]
    tables = [
        ["[server]", *_server(config, plan, auth)],
        ["[realm]", *_realm(plan)],
        ["[profile]", *_profile(plan)],
    ]
    head = _HEAD + (_HIDDEN_NOTE if auth != list(config.auth) else "")
    return head + "".join("\n" + "\n".join(lines) + "\n" for lines in tables)


def _server(config: ServerConfig, plan: Plan, auth: list[str]) -> Iterator[str]:
    if config.portal is not None:
        yield "# realm and auth: those of the portal"
        yield _line("portal", config.portal, config.origin("server", "portal"))
    else:
        yield _line("realm", config.realm.name, config.origin("server", "realm"))
        yield "# portal: one of this realm and these checkers"
    if config.avatar is None:
        avatarClass = getattr(plan.realm, "avatarClass", None)
        name = f"{avatarClass.__module__}.{avatarClass.__qualname__}" if isinstance(avatarClass, type) else "its own"
        yield f"# avatar: the realm's: {_plain(name)}"
    else:
        yield _line("avatar", config.avatar, config.origin("server", "avatar"))
    yield from _array("listen", list(config.listen), config, _backlog)
    if auth:
        yield from _array("auth", auth, config)
    elif config.portal is None:
        yield "# auth: nobody is named: a guest of this run only, or anonymous log-ins"
    if config.allow:
        yield from _array("allow", list(config.allow), config)
    elif plan.allow is None:
        yield "# allow: all that is registered, as in stock"
    else:
        named = ", ".join(sorted(shownClass(one) for one in plan.allow))
        yield f"# allow: {_plain(f'the realm has {named}' if named else 'no class')}"
    yield _line("profile", config.profile, config.origin("server", "profile"))
    yield _line("grace", config.grace, config.origin("server", "grace"))
    yield _line("enforce", config.enforce, config.origin("server", "enforce"))


def _realm(plan: Plan) -> Iterator[str]:
    if not isinstance(plan.realm, Realm):
        return
    # One that is made already takes no parameters from a file.
    maker = plan.config.portal or plan.config.realm.name
    mark = "" if plan.portal is None and isinstance(findRealm(maker), type) else "# "
    for name, value in describe(plan.realm)[1].items():
        origin = plan.config.origins.get(("realm", name))
        if origin is None and name in plan.config.realm.parameters:
            origin = plan.config.origin("server", "realm")
        source = str(origin or "default") if not mark else f"where {maker} is made"
        if callable(value):
            yield f"# {key(name)}: a function of the user, {_plain(getattr(value, '__qualname__', '?'))}"
            continue
        yield f"{mark}{key(name)} = {toml(value)}  # {_plain(source)}"


def _profile(plan: Plan) -> Iterator[str]:
    for path, value in leaves(plan.profile, "profile"):
        yield _line(".".join(key(str(part)) for part in path[1:]), value, _given(plan.config, path))


def _given(config: ServerConfig, path: Path) -> Origin:
    """Where a field of the profile comes from: the preset, unless the file has it."""
    return config.origins.get(path) or Origin(f"the profile {config.profile}")


def _array(
    name: str, texts: list[str], config: ServerConfig, more: Callable[[str], str] = lambda text: ""
) -> Iterator[str]:
    yield f"{name} = ["
    for place, text in enumerate(texts):
        yield f"    {toml(text)},  # {_plain(str(config.origin('server', name, place)))}{more(text)}"
    yield "]"


def _backlog(text: str) -> str:
    """What holds for a listener though its description does not say it."""
    return "" if withBacklog(text) == text else f", with a backlog of {BACKLOG}"


def _line(name: str, value: Any, origin: Origin) -> str:
    return f"{name} = {toml(value)}  # {_plain(str(origin))}"


def _plain(text: str) -> str:
    """For a comment, which ends at the end of the line whatever stands before it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def key(name: str) -> str:
    """
    :return: a key as TOML has it, in quotes if it needs them.
    """
    return name if name.isascii() and name.replace("_", "").isalnum() else toml(name)


def toml(value: str | float | Mapping[str, Any]) -> str:
    """
    :return: a simple value, or a table of such, as TOML has it on one line.
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key(name)} = {toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, str):
        # JSON's way of writing a text is TOML's, but for one character that TOML wants escaped as well.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)
