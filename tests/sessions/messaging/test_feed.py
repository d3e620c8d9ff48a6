"""Numbered changes, for clients that reconnect."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit.sessions.messaging.feed import Feed


class FeedTests(SynchronousTestCase):
    """`Feed`."""

    def feed(self, count: int, keep: int = 5) -> Feed[int]:
        """Return a feed in which each change is its own number."""
        feed: Feed[int] = Feed(keep)
        for number in range(1, count + 1):
            feed.add(number)
        return feed

    @given(st.integers(0, 12))
    def test_since(self, count: int) -> None:
        """All changes since a version are there, as long as they are kept."""
        feed = self.feed(count)
        self.assertEqual((feed.version, len(feed), feed.oldest), (count, min(count, 5), max(0, count - 5)))
        for version in range(feed.oldest, count + 1):
            self.assertEqual([*feed.since(version)], [*range(version + 1, count + 1)])

    def test_names(self) -> None:
        """A version has a name, which means something to the same feed only, and while the changes are kept."""
        feed, other = self.feed(8), self.feed(8)
        for version in range(3, 9):
            self.assertEqual(feed.parse(feed.named(version)), version)
            self.assertIsNone(other.parse(feed.named(version)))
        for version in (2, 9):
            self.assertIsNone(feed.parse(feed.named(version)))

    def test_badNames(self) -> None:
        """Anything else that a client sends is no version."""
        feed = self.feed(8)
        epoch = feed.named(8).partition(".")[0]
        for name in (None, 8, b"8", "", "8", epoch, f"{epoch}.", f"{epoch}.x", f"{epoch}.-8", f"{epoch}.²", [8]):
            self.assertIsNone(feed.parse(name), name)
        self.assertIsNone(feed.parse(f"{epoch}.{'8' * 5000}"))
