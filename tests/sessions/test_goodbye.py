"""How the server says goodbye to a client: `Session.kick`."""

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
from pbkit.server.refusallog import RefusalLog
from pbkit.sessions.goodbye import ABORT, GRACE
from pbkit.sessions.stocklogin import StockLogin
from pbkit.testing import MemoryServer, RecordingMind
from pbkit.testing.link import WINDOW
from pbkit.wire.profile import Log
from tests.support import Part, Recorder, Wire, serve, timers


class Mind(pb.Referenceable):
    """A mind that is told goodbye, and answers when the test says so."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.answer: Deferred[None] | None = None

    def remote_goodbye(self, *args: str) -> Any:
        """Note it."""
        self.told.append(args)
        return self.answer


class Hooks(Recorder):
    """An avatar that kicks or waits in its hooks, as the test says."""

    onAttached: Any = staticmethod(lambda session: None)
    onDetached: Any = staticmethod(lambda session: None)

    def attached(self, session: Session) -> Any:
        """Note it, and do what the test says."""
        super().attached(session)
        return self.onAttached(session)

    def detached(self, session: Session) -> Any:
        """Note it, and do what the test says."""
        super().detached(session)
        return self.onDetached(session)


class KickCase(SynchronousTestCase):
    """The base of the tests below."""

    def setUp(self) -> None:
        """Make a server."""
        self.avatarClass: Any = type("Hooks", (Hooks,), {})
        self.serve()

    def serve(self, **kw: Any) -> None:
        """Serve a realm."""
        self.realm = CachingRealm(self.avatarClass, **kw)
        self.server = MemoryServer(self.realm)
        self.addCleanup(self.server.close)

    def session(self, name: str = "alice") -> Session:
        """Return the newest session of a user."""
        return self.realm.roster.ofAvatar(name)[-1]

    def connect(self, name: str = "alice", mind: Any = None, **kw: Any) -> Any:
        """Log in with `pbkit.connect`."""
        credentials = UsernamePassword(name.encode(), b"")
        d = pbkit.connect(self.server.endpoint(), credentials, mind=mind, reactor=self.server.clock, **kw)
        self.server.flush()
        return self.successResultOf(d)

    def failure(self, d: Deferred[Any], kind: type[Exception]) -> Any:
        """Return the error of a call."""
        self.server.flush()
        return self.failureResultOf(d, kind).value


class GoodbyeTests(KickCase):
    """One client that is kicked."""

    def test_told(self) -> None:
        """
        The mind is told the class and the detail, once, when the session has ended; then the connection is closed.
        """
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
        """The connection stays open until the client has answered. Meanwhile no call is served."""
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
        """A client that does not answer in time is out after 2 s, or after the time that was passed."""
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
        """A client that reads nothing and whose connection is full is disconnected 5 s after its grace."""
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
        """A client without a mind is not told, and its connection is closed after everything that was sent to it."""
        client = self.server.login("alice", stock=True)
        waiting = client.callRemote("wait")
        out = self.session().kick(errors.Kicked, "go home")
        self.assertIn("go home", str(self.failure(waiting, errors.Kicked)))
        self.successResultOf(out)
        self.assertFalse(client.connection.link.connected)

    def test_mindWithoutTheMethod(self) -> None:
        """A mind without `remote_goodbye` answers with an error, which counts as an answer. The server logs nothing."""
        client = self.server.login("alice", pb.Referenceable(), stock=True)
        out = self.session().kick()
        self.server.flush()
        self.successResultOf(out)
        self.assertFalse(client.connection.link.connected)
        # The client logs it.
        self.assertEqual(len(self.server.flushLoggedErrors(pb.NoSuchMethod)), 1)
        self.assertEqual(len(self.flushLoggedErrors(pb.NoSuchMethod)), 1)

    def test_bySomebodyElse(self) -> None:
        """An invalid reason or detail is an error, and no session ends."""
        self.server.login("alice")
        for reason, detail in ((errors.LoginRefused, ""), (None, ""), (errors.Kicked, None), (errors.Kicked, b"x")):
            self.assertRaises(TypeError, self.session().kick, reason, detail)
            self.assertRaises(TypeError, self.session().end, reason, detail)
        self.assertEqual(len(self.realm.roster), 1)

    def test_lostMeanwhile(self) -> None:
        """A client whose connection is lost before it answers is out."""
        client = self.server.login("alice", Mind())
        client.connection.stall()
        out = self.session().kick()
        client.connection.cut()
        self.successResultOf(out)
        self.server.flush()
        self.assertEqual(timers(self.server.clock), [])

    def test_clientThatHangsUpAtOnce(self) -> None:
        """A client that closes the connection when it is told is out."""
        mind = Mind()
        client = self.server.login("alice", mind)
        mind.remote_goodbye = lambda *args: client.connection.link.loseConnection()  # type: ignore[method-assign]
        out = self.session().kick()
        self.server.flush()
        self.successResultOf(out)

    def test_repliesAreNotKept(self) -> None:
        """An answer that comes too late is dropped, with the references in it. Nothing is left in any table."""
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
    """Clients that are kicked again, that leave, or whose login has not succeeded."""

    def test_twice(self) -> None:
        """A second kick tells the client nothing, keeps the first reason, and waits for the same end."""
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
        """A kick from `detached` or from a listener changes nothing."""
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
        """A caller that cancels its Deferred changes nothing for the others."""
        self.server.login("alice", Mind())
        session = self.session()
        one, other = session.kick(), session.kick()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.server.flush()
        self.successResultOf(other)

    def test_oneWhoIsGone(self) -> None:
        """A session that has logged out, was lost or was ended is out already, and is told nothing."""
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
        A kick while `attached` waits: the login is refused at once with the reason, which is its goodbye; then the
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
        """
        A kick by the session's own `attached`, or by a listener when it begins: the login is refused, and then the
        connection is closed.
        """
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
    """Several sessions on one connection."""

    def test_othersAreLeftAlone(self) -> None:
        """
        With another session on the connection, the connection stays open, the calls of that session go on, and the kick
        is over.
        """
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
        """The connection stays open for a login that is being served."""
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
        """
        When both sessions of a connection are kicked, each is told, and the connection is closed after the last answer.
        """
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
        """A client that logs in again on the same connection while it is told goodbye keeps the connection."""
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
        """A login on a connection that is about to be closed is refused, because it would be lost in a moment."""
        for server in (pbkit.ServerFactory, pb.PBServerFactory):
            wire = Wire(serve(self.realm, server))
            login = StockLogin(None, IPeer(wire.server))
            login.peer.close(ABORT)
            self.failureResultOf(self.realm.requestAvatar("alice", login, pb.IPerspective), errors.LoginInterrupted)
            self.assertEqual((len(self.realm.roster), self.realm.roster.pending, login.peer.riders), (0, 0, 0))
            if server is pbkit.ServerFactory:
                flow = LoginFlow(Portal(self.realm), pbkit.ServerFactory.profile, wire.server, RefusalLog(Log()))
                self.assertTrue(Login(flow, wire.server.openChannel()).lost)
            wire.lose(server=True)


class ModeTests(KickCase):
    """The realm's parameter `goodbye`: which clients are told."""

    def kicked(self, mode: str, *, stock: bool, hello: bool) -> list[tuple[str, ...]]:
        """Return what the mind of a kicked client is told in this mode."""
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
        """All clients are told, or those that declared it, or none; each of them is out."""
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
        """An invalid value is an error that names the valid ones."""
        error = self.assertRaises(errors.ConfigError, CachingRealm, Hooks, goodbye="sometimes")
        self.assertIn("always, declared, never", str(error))


class ConnectTests(KickCase):
    """A client of `pbkit.connect`, which remembers the reason."""

    def test_reasonOfEveryLaterCall(self) -> None:
        """Every later call, on any reference, raises the class of the reason with the detail."""
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
        """This holds in a realm that keeps no minds, too."""
        self.realm = pbkit.ClientlessRealm(Recorder)
        self.server = MemoryServer(self.realm)
        self.addCleanup(self.server.close)
        me = self.connect(mind=Mind())
        self.session().kick(errors.Idle)
        self.assertIsInstance(self.failure(me.callRemote("whoami"), errors.Idle), errors.Idle)

    def test_recordingMind(self) -> None:
        """A `RecordingMind` records its goodbye, declared or not."""
        for stock in (True, False):
            mind = RecordingMind(tell=lambda text: None)
            self.server.login("alice", mind, stock=stock)
            self.session().kick()
            self.assertEqual(mind.told, [("goodbye", "Kicked", "")])
