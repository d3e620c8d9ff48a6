"""Allow five failed logins per connection."""

import attrs

import pbkit
from pbkit.wire.profile import STRICT

PATIENT = attrs.evolve(STRICT, door=attrs.evolve(STRICT.door, failures=5))


def makeFactory(portal):
    return pbkit.ServerFactory(portal, profile=PATIENT)
