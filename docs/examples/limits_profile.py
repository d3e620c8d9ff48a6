"""Raise a limit in a program."""

import attrs

import pbkit
from pbkit.wire.profile import MIB, STRICT

LARGER = attrs.evolve(STRICT, limits=attrs.evolve(STRICT.limits, message=16 * MIB))


def makeFactory(portal):
    return pbkit.ServerFactory(portal, profile=LARGER)
