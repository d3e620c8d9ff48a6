"""Users and addresses that may not log in for some time."""

from __future__ import annotations

import math
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbkit.errors import ConfigError, LoginBanned
from pbkit.sessions import bans as module
from pbkit.sessions.bans import Ban, Bans, hostOf, networkOf


def tcp(host: str) -> Any:
    """Return the address of a client."""
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 4711)


class AddressTests(SynchronousTestCase):
    """Which values are addresses."""

    def test_networks(self) -> None:
        """A host, a network and an `IAddress` are networks. An IPv4 address that came to an IPv6 port is IPv4."""
        for address, network in (
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            (tcp("192.0.2.7"), "192.0.2.7/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            (tcp("2001:db8::1"), "2001:db8::1/128"),
            ("fe80::1%eth0", "fe80::1/128"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::/0", "::/0"),
        ):
            self.assertEqual(networkOf(address), ip_network(network), address)

    def test_noNetworks(self) -> None:
        """A name, a Unix socket, a host with the bits of a network, and None are not networks."""
        for address in ("localhost", "", "192.0.2.7/24", "192.0.2", UNIXAddress(b"/x"), None, 7, b"192.0.2.7"):
            error = self.assertRaises(ConfigError, networkOf, address)
            self.assertIn("such as 192.0.2.7", str(error))

    def test_hosts(self) -> None:
        """The host of an `IAddress` is found, if it has one."""
        for address, host in (
            (tcp("192.0.2.7"), "192.0.2.7"),
            (tcp("::ffff:192.0.2.7"), "192.0.2.7"),
            (tcp("fe80::1%eth0"), "fe80::1"),
        ):
            self.assertEqual(hostOf(address), ip_address(host))
        for nowhere in (None, UNIXAddress(b"/x"), tcp("localhost")):
            self.assertIsNone(hostOf(nowhere))


class BansTests(SynchronousTestCase):
    """`Bans`."""

    def setUp(self) -> None:
        """Make an empty table."""
        self.clock = Clock()
        self.bans = Bans(self.clock.seconds)

    def banned(self, avatarId: str | None = None, address: Any = None) -> str:
        """Return the text with which a login is refused, or ""."""
        try:
            self.bans.check(avatarId, address)
        except LoginBanned as error:
            return str(error)
        return ""

    def test_user(self) -> None:
        """
        A user is banned until the time is up, and is told the time left and the reason. Other users are not banned.
        """
        self.bans.add("alice", 60, "spam")
        self.clock.advance(25.5)
        self.assertEqual(self.banned("alice"), "banned for another 35 s: spam")
        self.assertEqual(self.banned("bob", tcp("192.0.2.7")), "")
        self.assertEqual(self.banned(None, None), "")
        self.clock.advance(34.5)
        self.assertEqual(self.banned("alice"), "")
        self.assertEqual(self.bans._bans, {})

    def test_address(self) -> None:
        """A host or a network is banned. A host in two networks is banned as long as either of them is."""
        self.bans.add(networkOf("192.0.2.0/24"), 60, "")
        self.bans.add(networkOf("192.0.2.7"), 90, "")
        self.assertTrue(self.banned("alice", tcp("192.0.2.8")))
        self.assertTrue(self.banned(None, tcp("::ffff:192.0.2.7")))
        self.assertFalse(self.banned("alice", tcp("192.0.3.8")))
        self.assertFalse(self.banned("alice", tcp("2001:db8::1")))
        self.assertFalse(self.banned("alice", UNIXAddress(b"/x")))
        self.clock.advance(61)
        self.assertFalse(self.banned(None, tcp("192.0.2.8")))
        self.assertEqual(self.banned(None, tcp("192.0.2.7")), "banned for another 29 s")

    def test_anewAndBack(self) -> None:
        """A new ban replaces an earlier one of the same user or network, and a ban can be lifted."""
        for who in ("alice", networkOf("192.0.2.0/24")):
            self.bans.add(who, 60, "one")
            self.bans.add(who, 5, "two")
            self.assertEqual([(each.left, each.reason) for each in self.bans], [(5, "two")])
            self.assertTrue(self.bans.remove(who))
            self.assertFalse(self.bans.remove(who))
            self.assertEqual(tuple(self.bans), ())
        self.bans.add("alice", 5, "")
        self.clock.advance(5)
        self.assertFalse(self.bans.remove("alice"))

    def test_listed(self) -> None:
        """Bans that are in force are listed with the time left; those that are over are not."""
        self.bans.add("alice", 60, "spam")
        self.bans.add("bob", 5, "")
        self.bans.add(networkOf("192.0.2.7"), 90, "")
        self.clock.advance(10)
        self.assertEqual(
            tuple(self.bans), (Ban("alice", None, 50.0, "spam"), Ban(None, "192.0.2.7/32", 80.0, "")), self.bans
        )

    def test_noTime(self) -> None:
        """An invalid time is an error, and nobody is banned."""
        for seconds in (0, -1, math.inf, math.nan, "60", None, True):
            self.assertRaises(ConfigError, self.bans.add, "alice", seconds, "")
        self.assertEqual(tuple(self.bans), ())

    def test_thoseThatAreOverAreForgotten(self) -> None:
        """Bans that are over are forgotten when there are many, even if nobody asks for them, and no timer is used."""
        for number in range(5_000):
            self.bans.add(f"user{number}", 1, "")
            self.bans.add(networkOf(f"10.{number >> 8}.{number & 255}.0/24"), 1, "")
            self.clock.advance(0.1)
        self.assertLess(len(self.bans._bans), 200)
        self.clock.advance(2)
        self.assertEqual((tuple(self.bans), self.bans._bans, self.bans._prefixes), ((), {}, {}))

    def test_bounded(self) -> None:
        """Above the limit, the ban that ends soonest is forgotten, and a line is logged."""
        self.patch(module, "MOST", 100)
        self.bans.add("soonest", 10, "")
        with capturedLogs() as events:
            for number in range(150):
                self.bans.add(f"user{number}", 1000 + number, "")
        self.assertEqual(len(self.bans._bans), 100)
        self.assertFalse(self.banned("soonest"))
        self.assertTrue(self.banned("user149"))
        self.assertEqual(len(events), 51)

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.tuples(
                st.one_of(
                    st.sampled_from(["alice", "bob"]),
                    st.tuples(st.integers(0, 255), st.sampled_from([0, 8, 16, 24, 30, 32])).map(
                        lambda pair: ip_network((f"10.0.{pair[0] % 4}.{pair[0]}", pair[1]), strict=False)
                    ),
                ),
                st.one_of(st.none(), st.integers(1, 20)),
                st.integers(0, 5),
            ),
            max_size=20,
        ),
        st.integers(0, 255),
    )
    def test_asAListWould(self, steps: Any, last: int) -> None:
        """After any sequence of bans, lifted bans and waiting, the table decides as a plain list of bans does."""
        clock = Clock()
        bans = Bans(clock.seconds)
        plain: dict[Any, float] = {}
        host = ip_address(f"10.0.{last % 4}.{last}")
        for who, seconds, wait in steps:
            if seconds is None:
                self.assertEqual(bans.remove(who), plain.pop(who, -1.0) > clock.seconds())
            else:
                bans.add(who, seconds, "")
                plain[who] = clock.seconds() + seconds
            clock.advance(wait)
            hit = [until for who, until in plain.items() if who == "alice" or (who != "bob" and host in who)]
            try:
                bans.check("alice", tcp(str(host)))
                refused = False
            except LoginBanned:
                refused = True
            self.assertEqual(refused, any(until > clock.seconds() for until in hit))
            live = {who for who, until in plain.items() if until > clock.seconds()}
            self.assertEqual({each.avatarId or ip_network(each.address or "") for each in bans}, live)
