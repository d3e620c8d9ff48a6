"""`pbkit.client.endpoint`: client endpoint descriptions."""

from __future__ import annotations

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from pbkit.client.endpoint import clientEndpoint
from pbkit.errors import ConfigError


class ClientEndpointTests(SynchronousTestCase):
    """`clientEndpoint`."""

    def refusal(self, description: str) -> str:
        """Return the error text for a description."""
        return str(self.assertRaises(ConfigError, clientEndpoint, MemoryReactor(), description))

    def test_validDescriptions(self) -> None:
        """Everything that Twisted accepts is accepted."""
        for description in [
            "tcp:localhost:8787",
            "tcp:host=localhost:port=8787",
            "tcp:localhost:port=8787",
            "tcp:host=localhost:8787",
            r"tcp:\:\:1:8787",
            "tls:example.org:8787",
            "ssl:127.0.0.1:8787",
            "unix:/run/x",
            "unix:path=/run/x",
            "tcp:localhost:8787:timeout=5",
            r"tls:localhost:8787:endpoint=tcp\:127.0.0.1\:8787",
        ]:
            self.assertTrue(IStreamClientEndpoint.providedBy(clientEndpoint(MemoryReactor(), description)), description)

    def test_mistakes(self) -> None:
        """For each common mistake the error quotes the description and says what is expected."""
        for description, expected in [
            ("tcp:8821", "the host is missing; did you mean tcp:localhost:8821?"),
            ("tls:8821", "did you mean tls:localhost:8821?"),
            ("tcp:localhost", "the port is missing, expected tcp:HOST:PORT"),
            ("tcp::8787", "the host is missing, expected tcp:HOST:PORT"),
            ("tcp:", "expected tcp:HOST:PORT"),
            ("tcp", "expected tcp:HOST:PORT"),
            ("tcp:h:http", "invalid port 'http', expected 1 to 65535"),
            ("tcp:h:0", "invalid port '0'"),
            ("ssl:h:99999", "invalid port '99999'"),
            ("127.0.0.1:8821", "the type is missing; did you mean tcp:127.0.0.1:8821?"),
            ("unix:", "the path is missing, expected unix:PATH"),
            ("localhost", "Unknown endpoint type: 'localhost'. Expected for example tcp:localhost:8787"),
            ("", "Expected for example"),
            ("unix:a\\", "Expected for example"),
        ]:
            said = self.refusal(description)
            self.assertTrue(said.startswith(f"invalid endpoint {description!r}: "), said)
            self.assertIn(expected, said)

    def test_connect(self) -> None:
        """`pbkit.connect` fails with the same error."""
        connecting = pbkit.connect("tcp:8821", object(), reactor=MemoryReactor())
        self.assertIn("tcp:localhost:8821", self.failureResultOf(connecting, ConfigError).getErrorMessage())
