"""`pbkit.wire.prelogin.foreign`: clients of other protocols."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ServerFactory, dropin
from pbkit.wire.prelogin.foreign import foreignProtocol
from tests.support import Recorder

#: The start of a TLS 1.3 ClientHello, as OpenSSL sends it.
CLIENT_HELLO = bytes.fromhex("16030102000100 01fc0303a5b1c9d8e7f6".replace(" ", "")) + bytes(range(256)) * 2

REQUEST = b"GET /index.html HTTP/1.1\r\nHost: localhost:8787\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n"


class ForeignProtocolTests(SynchronousTestCase):
    """`foreignProtocol`, and what the log says."""

    def test_recognized(self) -> None:
        """Clients of common protocols are recognized by their first bytes."""
        for start, protocol in [
            (CLIENT_HELLO, "TLS"),
            (REQUEST, "HTTP"),
            (b"POST /x", "HTTP"),
            (b"PRI * HTTP/2.0", "HTTP"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"PROXY TCP4 192.0.2.1", "PROXY protocol"),
            (b"\r\n\r\n\0\r\nQUIT\n!", "PROXY protocol"),
        ]:
            self.assertEqual(foreignProtocol(start), protocol)

    def test_unknown(self) -> None:
        """PB, and anything else, is not."""
        for start in [b"", b"\x02\x82pb", b"\x04\x82none", b"\x16", b"GETX", b"hello"]:
            self.assertIsNone(foreignProtocol(start))

    def test_logged(self) -> None:
        """Such a client is closed at its first bytes, with one line that says what it looks like."""
        for factoryClass in (ServerFactory, dropin.PBServerFactory):
            for start, said in [
                (CLIENT_HELLO, "looks like TLS"),
                (REQUEST, "looks like HTTP"),
                (b"GET / HTTP/1.0\r\n\r\n", "looks like HTTP"),
                (b"SSH-2.0-x\r\n", "looks like SSH"),
            ]:
                factory: Any = factoryClass(Portal(CachingRealm(Recorder, clock=Clock()), []))
                factory.clock = Clock()
                broker = factory.buildProtocol(None)
                transport = StringTransport()
                with capturedLogs() as events:
                    broker.makeConnection(transport)
                    broker.dataReceived(start)
                    broker.dataReceived(start)
                lines = [str(formatEvent(event)) for event in events]
                self.assertEqual(len([line for line in lines if "closed connection" in line]), 1, lines)
                self.assertIn(said, lines[-1])
                self.assertTrue(broker.closed and (transport.disconnecting or transport.disconnected))

    def test_othersAreMalformed(self) -> None:
        """Other data is reported by what is wrong with it, also a TLS client whose first bytes arrive one by one."""
        for chunks in ([CLIENT_HELLO[:1], CLIENT_HELLO[1:]], [b"\xff" * 100]):
            factory = ServerFactory(Portal(CachingRealm(Recorder, clock=Clock()), []), clock=Clock())
            broker: Any = factory.buildProtocol(None)
            with capturedLogs() as events:
                broker.makeConnection(StringTransport())
                for chunk in chunks:
                    broker.dataReceived(chunk)
            lines = [str(formatEvent(event)) for event in events]
            self.assertIn("Malformed", lines[-1])
            self.assertTrue(broker.closed)
