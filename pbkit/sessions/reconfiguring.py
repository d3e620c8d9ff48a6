"""
Other parameters for a realm that is at work.
"""

from __future__ import annotations

from typing import Any

from pbkit.errors import ConfigError
from pbkit.sessions.admission import Policy
from pbkit.sessions.parameters import bind, parametersOf


def reconfigured(realm: Any, given: dict[str, Any]) -> Policy:
    """
    Bind other parameters to a realm; those that are not given stay.

    :param realm: a `Realm`.
    :param given: by name. One of the realm's `fixed` may only be given as it is.
    :return: the policy that the realm makes of them.
    :raises ConfigError: one cannot be; all are as they were, then.
    """
    old = {name: getattr(realm, name) for name in parametersOf(type(realm))}
    for name, value in given.items():
        if name in type(realm).fixed and value != old.get(name, value):
            raise ConfigError(f"{name}={value}: {name} cannot be changed while the realm is at work")
    try:
        bind(realm, {**old, **given})
        policy: Policy = realm.makePolicy()
    except BaseException:
        bind(realm, old)
        raise
    return policy
