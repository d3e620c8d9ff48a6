"""
The output of ``--print-config``: the settings in force as a configuration file, with the origin of each value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from twisted.python.reflect import qual

from pbkit.config.descriptions import BACKLOG, withBacklog
from pbkit.config.fields import settingsOf
from pbkit.config.file import HIDDEN
from pbkit.config.values import Origin, Path, ServerConfig, mayHoldPassword
from pbkit.serving.plan import Plan
from pbkit.serving.resolve import describeRealm, findRealm, shownClass
from pbkit.sessions.realm import Realm

_HEAD = """\
# The settings in force, and where each value comes from. Load this file with --config.
"""

_HIDDEN_NOTE = """\
# "hidden:" replaces a checker description that may contain passwords. Restore the description before loading.
"""


def asToml(plan: Plan) -> str:
    """
    Return the settings of a plan as TOML.

    Checker descriptions that may contain a password are replaced by a placeholder. It is not a valid description, so
    loading the output is an error and not a server with other users.
    """
    config = plan.config
    auth = [HIDDEN + text.partition(":")[0] if mayHoldPassword(text) else text for text in config.auth]
    tables = [
        ["[server]", *_server(config, plan, auth)],
        ["[realm]", *_realm(plan)],
        ["[profile]", *_profile(plan)],
    ]
    head = _HEAD + (_HIDDEN_NOTE if auth != list(config.auth) else "")
    return head + "".join("\n" + "\n".join(lines) + "\n" for lines in tables)


def _server(config: ServerConfig, plan: Plan, auth: list[str]) -> Iterator[str]:
    if config.portal is not None:
        yield "# realm and auth: from the portal"
        yield _line("portal", config.portal, config.origin("server", "portal"))
    else:
        yield _line("realm", config.realm.name, config.origin("server", "realm"))
        yield "# portal: created from this realm and these checkers"
    if config.avatar is None:
        avatarClass = getattr(plan.realm, "avatarClass", None)
        name = f"set by the realm: {qual(avatarClass)}" if isinstance(avatarClass, type) else "built by the realm"
        yield f"# avatar: {_plain(name)}"
    else:
        yield _line("avatar", config.avatar, config.origin("server", "avatar"))
    yield from _array("listen", list(config.listen), config, _backlog)
    if auth:
        yield from _array("auth", auth, config)
    elif config.portal is None:
        yield "# auth: none, so there is a guest user for each run, or logins are anonymous"
    if config.allow:
        yield from _array("allow", list(config.allow), config)
    elif plan.allow is None:
        yield "# allow: all registered classes, as in stock PB"
    else:
        named = ", ".join(sorted(shownClass(one) for one in plan.allow))
        yield f"# allow: {_plain(f'set by the realm: {named}' if named else 'no classes')}"
    yield _line("profile", config.profile, config.origin("server", "profile"))
    yield _line("grace", config.grace, config.origin("server", "grace"))
    yield _line("enforce", config.enforce, config.origin("server", "enforce"))
    yield _line("gc", config.gc, config.origin("server", "gc"))


def _realm(plan: Plan) -> Iterator[str]:
    if not isinstance(plan.realm, Realm):
        return
    # The parameters of a realm object cannot be set in a file, so they are shown as comments.
    source = plan.config.portal or plan.config.realm.name
    mark = "" if plan.portal is None and isinstance(findRealm(source), type) else "# "
    for name, value in describeRealm(plan.realm)[1].items():
        origin = plan.config.origins.get(("realm", name))
        if origin is None and name in plan.config.realm.parameters:
            origin = plan.config.origin("server", "realm")
        if callable(value):
            yield f"# {tomlKey(name)}: a function of the avatar id, {_plain(getattr(value, '__qualname__', '?'))}"
            continue
        where = f"set where {source} is created" if mark else str(origin or "default")
        yield f"{mark}{tomlKey(name)} = {tomlValue(value)}  # {_plain(where)}"


def _profile(plan: Plan) -> Iterator[str]:
    for path, value in settingsOf(plan.profile, "profile"):
        yield _line(".".join(tomlKey(str(part)) for part in path[1:]), value, _fieldOrigin(plan.config, path))


def _fieldOrigin(config: ServerConfig, path: Path) -> Origin:
    """Return the origin of a profile field: the file, or the preset."""
    return config.origins.get(path) or Origin(f"profile {config.profile}")


def _array(
    name: str, texts: list[str], config: ServerConfig, remark: Callable[[str], str] = lambda text: ""
) -> Iterator[str]:
    yield f"{name} = ["
    for index, text in enumerate(texts):
        yield f"    {tomlValue(text)},  # {_plain(str(config.origin('server', name, index)))}{remark(text)}"
    yield "]"


def _backlog(text: str) -> str:
    """Return a remark if a listener gets the default backlog."""
    return "" if withBacklog(text) == text else f", with backlog {BACKLOG}"


def _line(name: str, value: object, origin: Origin) -> str:
    return f"{name} = {tomlValue(value)}  # {_plain(str(origin))}"


def _plain(text: str) -> str:
    """Replace line ends and control characters, so that a comment stays on one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def tomlKey(name: str) -> str:
    """Return a key in TOML, quoted if necessary."""
    return name if name.isascii() and name.replace("_", "").isalnum() else tomlValue(name)


def tomlValue(value: object) -> str:
    """Return a simple value, or a table of simple values, in TOML on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{tomlKey(name)} = {tomlValue(one)}" for name, one in value.items()) + " }"
    if isinstance(value, str):
        # A JSON string is a TOML string, except for one character that TOML requires to be escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)
