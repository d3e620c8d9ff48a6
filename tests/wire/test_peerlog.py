"""What a peer may cause to be logged."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.peerlog import CUT, LINES, LogBudget, PeerLog, escaped
from pbkit.wire.profile import Log

LOG = Logger()


class EscapedTests(SynchronousTestCase):
    """A peer's text in the log."""

    def test_plain(self) -> None:
        """Printable text is unchanged, in any language."""
        for text in ("alice", "", "a b", "größe", "日本", "x" * 200):
            self.assertEqual(escaped(text, 200), text)
            self.assertEqual(escaped(text.encode("utf-8"), 200), text)

    def test_whatATerminalWouldObey(self) -> None:
        """Line ends, ESC, other controls, and characters that change the direction of writing are escaped."""
        for text, shown in (
            ("a\nb", "a\\nb"),
            ("a\r\x1b[2Jb", "a\\r\\x1b[2Jb"),
            ("\0", "\\x00"),
            ("\x9b1m", "\\x9b1m"),
            ("\u202eevil", "\\u202eevil"),
            ("a\u2028b", "a\\u2028b"),
            ("\ufeff", "\\ufeff"),
            ("a\\nb", "a\\\\nb"),
            ("\ud800", "\\ud800"),
            ("\U000e0001", "\\U000e0001"),
        ):
            self.assertEqual(escaped(text, 200), shown)

    def test_notText(self) -> None:
        """Bytes that are not UTF-8 are escaped."""
        self.assertEqual(escaped(b"a\xff\xfeb", 200), "a\\xff\\xfeb")

    def test_cut(self) -> None:
        """Longer text is cut and marked, and not in the middle of an escape."""
        self.assertEqual(escaped("x" * 201, 200), "x" * 200 + CUT)
        self.assertEqual(escaped("\n" * 10, 5), "\\n\\n" + CUT)
        self.assertEqual(escaped("ü".encode() * 10, 9), "ü" * 9 + CUT)

    @settings(deadline=None, max_examples=300)
    @given(st.one_of(st.text(), st.binary()), st.integers(16, 40))
    def test_neverMore(self, text: Any, cut: int) -> None:
        """The result of any text has no control characters, and is not too long."""
        shown = escaped(text, cut)
        self.assertLessEqual(len(shown), cut + len(CUT))
        self.assertEqual([c for c in shown if unicodedata.category(c)[0] == "C"], [])
        self.assertTrue(shown.isprintable())


class PeerLogTests(SynchronousTestCase):
    """The number of lines of a connection, and of a server."""

    def setUp(self) -> None:
        """Make a peer log, and record the lines."""
        self.clock = Clock()
        self.peerLog = PeerLog(Log(lines=3, cut=20), self.clock.seconds, "127.0.0.1:1")
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def asked(self, times: int) -> int:
        """Return how many lines are admitted."""
        return [self.peerLog.admits() for _ in range(times)].count(True)

    def written(self) -> list[str]:
        """Return the lines that the peer log wrote."""
        return [formatEvent(event) for event in self.events]

    def test_soMany(self) -> None:
        """Each second has the same number of lines; then one line says how many were dropped."""
        self.assertEqual(self.asked(3), 3)
        self.assertEqual(self.asked(1000), 0)
        self.clock.advance(0.9)
        self.assertEqual(self.asked(1), 0)
        self.assertEqual(self.written(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.asked(5), 3)
        self.assertEqual(self.written(), ["1001 more lines about 127.0.0.1:1 were not logged: they exceed log.lines"])

    def test_close(self) -> None:
        """When the connection is lost, that line is logged at once, and once only."""
        self.asked(4)
        self.peerLog.close()
        self.peerLog.close()
        self.assertEqual(self.written(), ["1 more lines about 127.0.0.1:1 were not logged: they exceed log.lines"])

    def test_few(self) -> None:
        """If no line is dropped, there is no such line."""
        for _ in range(5):
            self.assertEqual(self.asked(3), 3)
            self.clock.advance(1)
        self.peerLog.close()
        self.assertEqual(self.written(), [])

    def test_asManyAsThereAre(self) -> None:
        """Without a limit, every line is logged."""
        self.peerLog = PeerLog(Log(lines=None), self.clock.seconds, "x")
        self.assertEqual(self.asked(1000), 1000)

    def test_budget(self) -> None:
        """All connections of a server share a limit; above it, one line says how many were left out."""
        budget = LogBudget(10, self.clock.seconds)
        logs = [PeerLog(Log(lines=3), self.clock.seconds, f"peer {n}", budget) for n in range(100)]
        self.assertEqual([each.admits() for each in logs].count(True), 10)
        for each in logs:
            each.admits()
        self.clock.advance(1)
        self.assertTrue(logs[0].admits())
        self.assertEqual(self.written(), ["190 more lines were not logged: they exceed log.total"])

    def test_budgetCountsWhatOthersDropped(self) -> None:
        """The lines about dropped lines count as well; if one is dropped, so are those that it reports."""
        budget = LogBudget(5, self.clock.seconds)
        logs = [PeerLog(Log(lines=1), self.clock.seconds, f"peer {n}", budget) for n in range(20)]
        for each in logs:
            for _ in range(3):
                each.admits()
        for each in logs:
            each.close()
        self.assertEqual(self.written(), [])
        budget.report()
        self.assertEqual(self.written(), [])
        self.clock.advance(1)
        budget.report()
        budget.report()
        # Of 60 lines 5 were logged.
        self.assertEqual(self.written(), ["55 more lines were not logged: they exceed log.total"])

    def test_noBudget(self) -> None:
        """Without a limit for the server, every line is logged."""
        budget = LogBudget(None, self.clock.seconds)
        self.assertEqual([budget.admits() for _ in range(1000)].count(True), 1000)
        self.clock.advance(1)
        budget.report()
        self.assertEqual(self.written(), [])

    def test_escaped(self) -> None:
        """A peer log cuts text at ``log.cut``."""
        self.assertEqual(self.peerLog.escaped(b"\x1b" * 30), "\\x1b" * 5 + CUT)

    def test_longTracebacks(self) -> None:
        """Of a very long traceback, the beginning and the end are logged."""

        def deep(levels: int) -> int:
            return deep(levels - 1) if levels else 1 // 0

        try:
            deep(500)
        except ZeroDivisionError:
            self.peerLog.failure(LOG, "deep")
        (failed,) = [event["log_failure"] for event in self.events]
        lines = failed.getTraceback().splitlines()
        self.assertEqual(len(lines), 2 * LINES + 1)
        self.assertIn("test_longTracebacks", lines[1])
        self.assertIn("lines left out", lines[LINES])
        self.assertIn("ZeroDivisionError", lines[-1])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_failures(self) -> None:
        """
        What was raised is told with its traceback, but its own text escaped and cut; it is still what it was. So is one
        of the other end's, whose class is its text too.
        """
        try:
            raise LookupError("\x1b[2J\n" * 10)
        except LookupError:
            self.peerLog.failure(LOG, "{what} failed", what="it")
        whole = Failure(ValueError("short"))
        self.peerLog.failure(LOG, "whole", whole)
        copied: Any = pb.CopiedFailure.__new__(pb.CopiedFailure)
        copied.__dict__.update(type=b"\xffgame.\x1bBad", value="\x1b" * 99, parents=[], traceback="none")
        self.peerLog.failure(LOG, "copied", copied)
        self.peerLog.failure(LOG, "dropped", whole)
        self.assertEqual(self.written(), ["it failed", "whole", "copied"])
        raised, unchanged, remote = [event["log_failure"] for event in self.events]
        self.assertIn("in test_failures", raised.getTraceback())
        self.assertTrue(raised.getTraceback().endswith("LookupError: \\x1b[2J\\n\\x1b[2J\\n...\n"))
        self.assertIs(raised.check(LookupError), LookupError)
        self.assertIs(unchanged, whole)
        said = "Traceback from remote host -- \\xffgame.\\x1bBad: \\x1b\\x1b\\x1b\\x1b\\x1b...\n"
        self.assertEqual(remote.getTraceback(), said)
        self.assertEqual(len(self.flushLoggedErrors(LookupError, ValueError)), 2)
        self.flushLoggedErrors()
