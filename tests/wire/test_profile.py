"""The profiles."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from pbkit import dropin
from pbkit.wire.profile import CLIENT, DROPIN, STRICT, Profile


class ProfileTests(SynchronousTestCase):
    """`STRICT`, `CLIENT` and `DROPIN`."""

    def test_whoHasWhich(self) -> None:
        """The classes in `pbkit` are strict, those in `pbkit.dropin` are not."""
        for cls in (pbkit.Broker, pbkit.ServerFactory):
            self.assertIs(cls.profile, STRICT)
        self.assertIs(pbkit.ClientFactory.profile, CLIENT)
        self.assertEqual(attrs.evolve(CLIENT, limits=STRICT.limits), STRICT)
        for lenient in (dropin.Broker, dropin.PBServerFactory, dropin.PBClientFactory):
            self.assertIs(lenient.profile, DROPIN)
        self.assertIs(pbkit.ServerFactory.protocol, pbkit.Broker)
        self.assertIs(dropin.PBServerFactory.protocol, dropin.Broker)
        self.assertIs(dropin.PBClientFactory.protocol, dropin.Broker)

    def test_differInAll(self) -> None:
        """Every setting differs between the two profiles: otherwise it would not be needed."""
        for name in (field.name for field in attrs.fields(Profile)):
            self.assertNotEqual(getattr(STRICT, name), getattr(DROPIN, name), name)

    def test_cannotBeChanged(self) -> None:
        """A profile cannot be changed while connections use it."""
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, STRICT, "anyMind", True)
