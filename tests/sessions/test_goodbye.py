"""How the server takes its leave of a client: `Session.kick`."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from pbkit import CachingRealm, Session, errors
from pbkit.interfaces import IPeer
from pbkit.server.loginflow import Login, LoginFlow
from pbkit.sessions.goodbye import ABORT, GRACE
from pbkit.sessions.stocklogin import StockLogin
from pbkit.testing import MemoryServer, RecordingMind
from pbkit.testing.link import WINDOW
from tests.support import Part, Recorder, Wire, serve, timers


class Mind(pb.Referenceable):
    """Is told goodbye, and answers when the test says so."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.answer: Deferred[None] | None = None

    def remote_goodbye(self, *args: str) -> Any:
        """Write it down."""
        self.told.append(args)
        return self.answer


class Hooks(Recorder):
    """Kicks, or waits, in its hooks, as the test says."""

    onAttached: Any = staticmethod(lambda session: None)
    onDetached: Any = staticmethod(lambda session: None)

    def attached(self, session: Session) -> Any:
        """Write it down and do so."""
        super().attached(session)
        return self.onAttached(session)

    def detached(self, session: Session) -> Any:
        """Write it down and do so."""
        super().detached(session)
        return self.onDetached(session)


class KickCase(SynchronousTestCase):
    """What the tests below share."""

    def setUp(self) -> None:
        """A server."""
        self.avatarClass: Any = type("Hooks", (Hooks,), {})
        self.serve()

    def serve(self, **kw: Any) -> None:
        """Serve a realm."""
        self.realm = CachingRealm(self.avatarClass, **kw)
        self.server = MemoryServer(self.realm)
        self.addCleanup(self.server.close)

    def session(self, name: str = "alice") -> Session:
        """The newest session of a user."""
        return self.realm.roster.ofAvatar(name)[-1]

    def connect(self, name: str = "alice", mind: Any = None, **kw: Any) -> Any:
        """Log in with `pbkit.connect`."""
        credentials = UsernamePassword(name.encode(), b"")
        d = pbkit.connect(self.server.endpoint(), credentials, mind=mind, reactor=self.server.clock, **kw)
        self.server.flush()
        return self.successResultOf(d)

    def failure(self, d: Deferred[Any], kind: type[Exception]) -> Any:
        """What a call fails with."""
        self.server.flush()
        return self.failureResultOf(d, kind).value


class GoodbyeTests(KickCase):
    """One client is kicked."""

    def test_told(self) -> None:
        """The mind is told the class and the detail, once, when the session has ended; then the connection closes."""
        mind = Mind()
        client = self.server.login("alice", mind, stock=True)
        session = self.session()
        out = session.kick(errors.Kicked, "go home")
        self.assertEqual((len(self.realm.roster), str(session.endedWith)), (0, f"{errors.Kicked.text}: go home"))
        self.assertNoResult(out)
        self.server.flush()
        self.assertIsNone(self.successResultOf(out))
        self.assertEqual(mind.told, [("Kicked", "go home")])
        self.assertFalse(client.connection.link.connected)
        self.assertEqual(timers(self.server.clock), [])

    def test_waitsForTheAnswer(self) -> None:
        """The connection stays until the client has answered, and no call is served meanwhile."""
        mind = Mind()
        mind.answer = Deferred()
        client = self.server.login("alice", mind, stock=True)
        out = self.session().kick()
        self.server.advance(GRACE - 0.1)
        self.assertTrue(client.connection.link.connected)
        self.assertRaises(errors.Kicked, client.call, "whoami")
        self.assertNoResult(out)
        mind.answer.callback(None)
        self.server.flush()
        self.assertFalse(client.connection.link.connected)
        self.successResultOf(out)

    def test_graceIsUp(self) -> None:
        """One that does not answer in time is out after 2 s, or what the caller gives it."""
        for grace in (GRACE, 0.5):
            mind = Mind()
            mind.answer = Deferred()
            client = self.server.login("alice", mind)
            out = self.session().kick() if grace == GRACE else self.session().kick(grace=grace)
            self.server.advance(grace - 0.01)
            self.assertNoResult(out)
            self.server.advance(0.02)
            self.successResultOf(out)
            self.assertFalse(client.connection.link.connected)

    def test_oneThatReadsNothing(self) -> None:
        """One that reads nothing, for whom more waits than there is room for, is cut off 5 s after its grace."""
        client = self.server.login("alice", Mind())
        client.connection.stall()
        self.session().mind.tell("tell", "x" * 2 * WINDOW)
        out = self.session().kick()
        self.server.advance(GRACE + ABORT - 0.1)
        self.assertNoResult(out)
        self.server.advance(0.2)
        self.successResultOf(out)
        self.assertFalse(client.connection.link.connected)
        self.assertEqual(timers(self.server.clock), [])

    def test_withoutMind(self) -> None:
        """One without a mind cannot be told, and its connection is closed; what is on its way to it arrives before."""
        client = self.server.login("alice", stock=True)
        waiting = client.callRemote("wait")
        out = self.session().kick(errors.Kicked, "go home")
        self.assertIn("go home", str(self.failure(waiting, errors.Kicked)))
        self.successResultOf(out)
        self.assertFalse(client.connection.link.connected)

    def test_mindWithoutTheMethod(self) -> None:
        """A mind that does not know goodbye answers with an error, which is an answer, and nothing is logged here."""
        client = self.server.login("alice", pb.Referenceable(), stock=True)
        out = self.session().kick()
        self.server.flush()
        self.successResultOf(out)
        self.assertFalse(client.connection.link.connected)
        # That is the client's own log.
        self.assertEqual(len(self.server.flushLoggedErrors(pb.NoSuchMethod)), 1)
        self.assertEqual(len(self.flushLoggedErrors(pb.NoSuchMethod)), 1)

    def test_bySomebodyElse(self) -> None:
        """What is wrong with the reason or the detail is told, and nobody is ended."""
        self.server.login("alice")
        for reason, detail in ((errors.LoginRefused, ""), (None, ""), (errors.Kicked, None), (errors.Kicked, b"x")):
            self.assertRaises(TypeError, self.session().kick, reason, detail)
            self.assertRaises(TypeError, self.session().end, reason, detail)
        self.assertEqual(len(self.realm.roster), 1)

    def test_lostMeanwhile(self) -> None:
        """A client that is gone before it answers is out."""
        client = self.server.login("alice", Mind())
        client.connection.stall()
        out = self.session().kick()
        client.connection.cut()
        self.successResultOf(out)
        self.server.flush()
        self.assertEqual(timers(self.server.clock), [])

    def test_clientThatHangsUpAtOnce(self) -> None:
        """One that closes the connection when it is told is out."""
        mind = Mind()
        client = self.server.login("alice", mind)
        mind.remote_goodbye = lambda *args: client.connection.link.loseConnection()  # type: ignore[method-assign]
        out = self.session().kick()
        self.server.flush()
        self.successResultOf(out)

    def test_repliesAreNotKept(self) -> None:
        """An answer that comes too late is dropped, with what came with it; nothing is left in any table."""
        mind = Mind()
        mind.answer = Deferred()
        client = self.server.login("alice", mind, stock=True)
        other = self.successResultOf(client.connection.login("bob"))
        self.session().kick()
        self.server.advance(GRACE + 1)
        mind.answer.callback(Part())  # type: ignore[arg-type]
        self.server.flush()
        server: Any = client.connection.link.server
        self.assertEqual((server.waitingForAnswers, server.callers), ({}, {}))
        self.assertEqual(other.call("whoami"), "bob")


class TwiceTests(KickCase):
    """Kicking those who are kicked already, or who leave, or who are not in yet."""

    def test_twice(self) -> None:
        """Kicked again it is told nothing more, the first reason stays, and all wait for the same."""
        mind = Mind()
        self.server.login("alice", mind)
        session = self.session()
        first, second = session.kick(errors.Replaced), session.kick(errors.Kicked)
        self.assertIsInstance(session.endedWith, errors.Replaced)
        self.assertNoResult(second)
        self.server.flush()
        for out in (first, second, session.kick()):
            self.assertIsNone(self.successResultOf(out))
        self.assertEqual(mind.told, [("Replaced", "")])

    def test_fromWithin(self) -> None:
        """Kicked again from `detached`, or from a listener, it goes on as it was going."""
        outs: list[Deferred[None]] = []
        self.avatarClass.onDetached = staticmethod(lambda session: outs.append(session.kick(errors.Banned)))
        self.realm.roster.onEnd(lambda session: outs.append(session.kick(errors.Banned)))
        mind = Mind()
        self.server.login("alice", mind)
        session = self.session()
        outs.append(session.kick())
        self.assertEqual(len(outs), 3)
        for out in outs:
            self.assertNoResult(out)
        self.server.flush()
        for out in outs:
            self.successResultOf(out)
        self.assertEqual(mind.told, [("Kicked", "")])
        self.assertEqual(session.avatar.told("detached", session), 1)

    def test_waiterThatGivesUp(self) -> None:
        """Whoever waits may give up, and takes nothing from the others."""
        self.server.login("alice", Mind())
        session = self.session()
        one, other = session.kick(), session.kick()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.server.flush()
        self.successResultOf(other)

    def test_oneWhoIsGone(self) -> None:
        """One that has logged out, hung up or been ended is out already, and told nothing."""
        for leave in ("logout", "hang up", "end"):
            mind = Mind()
            client = self.server.login("alice", mind, stock=True)
            session = self.session()
            if leave == "logout":
                client.logout()
            elif leave == "hang up":
                client.connection.loseConnection()
            else:
                session.end(errors.Idle)
            self.server.flush()
            self.successResultOf(session.kick())
            self.assertNotIsInstance(session.endedWith, errors.Kicked)
            self.server.flush()
            self.assertEqual(mind.told, [])

    def test_whileAttaching(self) -> None:
        """
        Kicked while `attached` waits: the login is refused with the reason, at once, and that is the goodbye; then the
        connection is closed. `detached` runs when `attached` returns.
        """
        gate: Deferred[None] = Deferred()
        sessions: list[Session] = []

        def attached(session: Session) -> Deferred[None]:
            sessions.append(session)
            return gate

        self.avatarClass.onAttached = staticmethod(attached)
        mind = Mind()
        connection = self.server.connect()
        login = connection.login("alice", mind)
        out = sessions[0].kick(errors.Kicked, "not you")
        self.assertIn("not you", str(self.failure(login, errors.LoginInterrupted)))
        self.successResultOf(out)
        self.assertEqual((mind.told, connection.link.connected), ([], False))
        self.assertEqual(sessions[0].avatar.told("detached", sessions[0]), 0)
        gate.callback(None)
        self.assertEqual(sessions[0].avatar.told("detached", sessions[0]), 1)

    def test_fromAttachedItself(self) -> None:
        """Kicked by its own `attached`, or by a listener as it begins: refused, and then the connection is closed."""
        for where in ("attached", "begin"):
            outs: list[Deferred[None]] = []

            def kick(session: Session, outs: list[Deferred[None]] = outs) -> None:
                outs.append(session.kick(errors.Kicked, "not you"))

            stop = self.realm.roster.onBegin(kick) if where == "begin" else lambda: None
            self.avatarClass.onAttached = staticmethod(kick if where == "attached" else Hooks.onAttached)
            connection = self.server.connect()
            self.assertIn("not you", str(self.failure(connection.login("alice"), errors.LoginInterrupted)))
            self.successResultOf(outs[0])
            self.assertFalse(connection.link.connected)
            self.assertEqual(len(self.realm.roster), 0)
            stop()


class SharedConnectionTests(KickCase):
    """Several log-ins ride on one connection."""

    def test_othersAreLeftAlone(self) -> None:
        """With another session on the connection that stays open, its running calls go on, and the kick is over."""
        mind = Mind()
        hers = self.server.login("alice", mind, stock=True)
        his = self.successResultOf(hers.connection.login("bob"))
        waiting = his.callRemote("wait")
        out = self.session("alice").kick()
        self.server.flush()
        self.successResultOf(out)
        self.assertEqual(mind.told, [("Kicked", "")])
        self.assertTrue(hers.connection.link.connected)
        self.assertRaises(errors.Kicked, hers.call, "whoami")
        self.session("bob").avatar.waiting[0].callback("done")
        self.server.flush()
        self.assertEqual(self.successResultOf(waiting), "done")

    def test_pendingLoginToo(self) -> None:
        """Nor is it closed on one whose login is being served."""
        mind = Mind()
        hers = self.server.login("alice", mind)
        gate: Deferred[None] = Deferred()
        self.avatarClass.onAttached = staticmethod(lambda session: gate)
        his = hers.connection.login("bob")
        out = self.session("alice").kick()
        self.server.flush()
        self.successResultOf(out)
        gate.callback(None)
        self.server.flush()
        self.assertEqual(self.successResultOf(his).call("whoami"), "bob")

    def test_bothAreKicked(self) -> None:
        """Each is told, and the connection is closed when the last has answered."""
        minds = [Mind(), Mind()]
        minds[1].answer = Deferred()
        hers = self.server.login("alice", minds[0])
        self.successResultOf(hers.connection.login("bob", minds[1]))
        outs = [self.session(name).kick() for name in ("alice", "bob")]
        self.server.flush()
        self.assertEqual([mind.told for mind in minds], [[("Kicked", "")]] * 2)
        self.assertTrue(hers.connection.link.connected)
        self.assertNoResult(outs[1])
        minds[1].answer.callback(None)
        self.server.flush()
        for out in outs:
            self.successResultOf(out)
        self.assertFalse(hers.connection.link.connected)

    def test_comesBackAtOnce(self) -> None:
        """One that logs in again, on the same connection, while it is told goodbye keeps the connection."""
        mind = Mind()
        mind.answer = Deferred()
        client = self.server.login("alice", mind)
        out = self.session().kick()
        self.server.flush()
        again = self.successResultOf(client.connection.login("alice"))
        mind.answer.callback(None)
        self.server.flush()
        self.successResultOf(out)
        self.assertEqual(again.call("whoami"), "alice")

    def test_tooLate(self) -> None:
        """A login on a connection that is about to be closed is refused: it would be lost in a moment."""
        for server in (pbkit.ServerFactory, pb.PBServerFactory):
            wire = Wire(serve(self.realm, server))
            login = StockLogin(None, IPeer(wire.server))
            login.peer.close(ABORT)
            self.failureResultOf(self.realm.requestAvatar("alice", login, pb.IPerspective), errors.LoginInterrupted)
            self.assertEqual((len(self.realm.roster), self.realm.roster.pending, login.peer.riders), (0, 0, 0))
            if server is pbkit.ServerFactory:
                flow = LoginFlow(Portal(self.realm), pbkit.ServerFactory.profile, wire.server)
                self.assertTrue(Login(flow, wire.server.openChannel()).lost)
            wire.lose(server=True)


class ModeTests(KickCase):
    """Which clients are told: the realm's `goodbye`."""

    def kicked(self, mode: str, *, stock: bool, hello: bool) -> list[tuple[str, ...]]:
        """What a client's mind is told under this mode."""
        self.serve(goodbye=mode)
        mind = Mind()
        connection = self.server.connect(stock=stock)
        login = connection.login("alice", mind)
        client = self.successResultOf(login)
        if hello:
            connection.link.server.peer.hello = {"goodbye": True}
        out = self.session().kick()
        self.server.flush()
        self.successResultOf(out)
        self.assertFalse(client.connection.link.connected)
        return mind.told

    def test_modes(self) -> None:
        """All, those that declared it, or none; each is out all the same."""
        told = [("Kicked", "")]
        for mode, hello, expected in (
            ("always", False, told),
            ("always", True, told),
            ("declared", False, []),
            ("declared", True, told),
            ("never", False, []),
            ("never", True, []),
        ):
            self.assertEqual(self.kicked(mode, stock=True, hello=hello), expected, (mode, hello))

    def test_noSuchMode(self) -> None:
        """Another value is an error that names those there are."""
        error = self.assertRaises(errors.ConfigError, CachingRealm, Hooks, goodbye="sometimes")
        self.assertIn("always, declared, never", str(error))


class ConnectTests(KickCase):
    """A client that came by `pbkit.connect` remembers."""

    def test_reasonOfEveryLaterCall(self) -> None:
        """The reason, as its class and with the detail, is what every later call raises, at any reference."""
        for mind, mode in ((None, "always"), (None, "declared"), (Mind(), "declared"), (pb.Referenceable(), "always")):
            self.serve(goodbye=mode)
            me = self.connect(mind=mind)
            part = me.callRemote("part")
            self.server.flush()
            part = self.successResultOf(part)
            ended = me.whenEnded()
            out = self.session().kick(errors.Banned, "for cheating")
            self.server.flush()
            self.successResultOf(out)
            self.assertIsInstance(self.successResultOf(ended), errors.Banned)
            for call in (me.callRemote("whoami"), part.callRemote("hi")):
                self.assertIn("for cheating", str(self.failure(call, errors.Banned)))
            self.assertEqual(getattr(mind, "told", []), [("Banned", "for cheating")] if isinstance(mind, Mind) else [])

    def test_clientlessRealm(self) -> None:
        """Also where the realm keeps no mind."""
        self.realm = pbkit.ClientlessRealm(Recorder)
        self.server = MemoryServer(self.realm)
        self.addCleanup(self.server.close)
        me = self.connect(mind=Mind())
        self.session().kick(errors.Idle)
        self.assertIsInstance(self.failure(me.callRemote("whoami"), errors.Idle), errors.Idle)

    def test_recordingMind(self) -> None:
        """A `RecordingMind` writes it down, whether it was declared or not."""
        for stock in (True, False):
            mind = RecordingMind(tell=lambda text: None)
            self.server.login("alice", mind, stock=stock)
            self.session().kick()
            self.assertEqual(mind.told, [("goodbye", "Kicked", "")])
