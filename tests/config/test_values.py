"""`pbkit.config.values`: the settings as frozen dataclasses, and short descriptions."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit.config.descriptions import isLoopbackOnly
from pbkit.config.values import RealmSpec, ServerConfig, parseRealm
from pbkit.errors import ConfigError


class ServerConfigTests(SynchronousTestCase):
    """`ServerConfig` with its defaults."""

    def test_servesTheCachingRealmOnLoopbackByDefault(self) -> None:
        """The default is the caching realm on port 8787 of this machine."""
        config = ServerConfig()
        self.assertEqual(config.realm, RealmSpec("caching"))
        self.assertEqual(config.listen, ("tcp:8787:interface=127.0.0.1",))
        self.assertTrue(isLoopbackOnly(config.listen[0]))

    def test_isFrozen(self) -> None:
        """The settings cannot be changed."""
        with self.assertRaises(FrozenInstanceError):
            ServerConfig().avatar = "x"  # type: ignore[misc]

    def test_showsNoPassword(self) -> None:
        """`repr` of the settings contains no password."""
        self.assertNotIn("sesame", repr(ServerConfig(auth=("memory:alice:sesame",))))


class ParseRealmTests(SynchronousTestCase):
    """`parseRealm`."""

    def test_takesAName(self) -> None:
        """A name alone has no parameters."""
        self.assertEqual(parseRealm("caching"), RealmSpec("caching", {}))

    def test_takesADottedPathWithParameters(self) -> None:
        """Each key=value becomes a parameter with a text value."""
        spec = parseRealm("game.realms.GameRealm:max=3:motto=a=b")
        self.assertEqual(spec.name, "game.realms.GameRealm")
        self.assertEqual(dict(spec.parameters), {"max": "3", "motto": "a=b"})

    def test_takesAnEscapedColon(self) -> None:
        """A backslash escapes a colon in a value."""
        self.assertEqual(dict(parseRealm(r"limited:note=a\:b\\").parameters), {"note": "a:b\\"})

    def test_isShownAsItWasWritten(self) -> None:
        """`str` of a spec is the text it was parsed from."""
        self.assertEqual(str(parseRealm("limited:max=3:conflict=kick")), "limited:max=3:conflict=kick")

    def test_refusesWhatIsNotOfThatForm(self) -> None:
        """Malformed descriptions are errors that show the expected form."""
        for text, said in [
            ("", "NAME:key=value"),
            (":max=3", "NAME:key=value"),
            ("max=3", "NAME:key=value"),
            ("limited:3", "got '3', expected key=value"),
            ("limited:", "got '', expected key=value"),
            ("limited:=3", "got '=3', expected key=value"),
            ("limited:max=3:max=4", "max is given twice"),
            ("limited\\", "backslash"),
        ]:
            error = self.assertRaises(ConfigError, parseRealm, text)
            self.assertIn(said, str(error), text)

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
    def test_whateverIsQuotedIsReadBack(self, name: str, parameters: dict[str, str]) -> None:
        """Names, keys and values of any text survive if special characters are escaped."""

        def quote(text: str) -> str:
            return "".join(f"\\{c}" if c in "\\:=" else c for c in text)

        pairs = (f"{quote(key)}={quote(value)}" for key, value in parameters.items())
        spec = parseRealm(":".join([quote("r" + name), *pairs]))
        self.assertEqual(spec.name, "r" + name)
        self.assertEqual(dict(spec.parameters), parameters)
