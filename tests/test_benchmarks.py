"""The benchmarks run, and their page shows the results. These tests make no statement about speed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import attrs
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from benchmarks import audience, data, machine, page
from benchmarks.__main__ import main
from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Figures, Spread
from benchmarks.messages import Hub
from benchmarks.onreactor import Pump, broadcasting, checked
from benchmarks.peers.audience import Audience, Ear
from benchmarks.perspective import PASSWORD, Mind, checker
from benchmarks.process import Peer, PeerFailed
from benchmarks.rounds import measure
from benchmarks.works import WORKS, matches
from pbkit.testing import Link

ROOT = Path(__file__).resolve().parent.parent

#: The timeout of a run in seconds, far more than it takes.
PATIENCE = 180.0

SMALL, MEMORY = (next(work for work in WORKS if work.name == name) for name in ("small", "memory-1000"))
PEERS = {contender.name: contender for contender in CONTENDERS}


class RunTests(SynchronousTestCase):
    """A real but very short run of the peers that need no additional packages."""

    def run_(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)

    def test_quickRun(self) -> None:
        """A quick run measures each peer, prints the page, and writes it to the given directory."""
        out = Path(self.mktemp()).resolve()
        out.mkdir()
        done = self.run_("--quick", "--peers", "stock,pbkit,amp,line", "--work", "small", "--out", str(out))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((out / "benchmarks.md").read_text(encoding="utf-8"), done.stdout)
        rows = dict(re.findall(r"^\| (.+?) \| ([\d.,]+) \([\d.,]+ to [\d.,]+\) \|", done.stdout, re.MULTILINE))
        for name in ("stock/root", "stock/realm", "pbkit-pure/root", "pbkit-pure/realm", "pbkit-pure/stock-client"):
            self.assertGreater(float(rows.pop(PEERS[name].title).replace(",", "")), 0)
        self.assertLessEqual({PEERS["amp"].title, PEERS["line"].title}, set(rows))
        # A peer was measured, or the page says that it was not.
        for name in ("pbkit-compiled/root", "pbkit-compiled/realm", "pbkit-compiled/stock-client"):
            title = PEERS[name].title
            self.assertTrue(title in rows or f"- {title}: pbkit has no compiled core here" in done.stdout, title)
        self.assertIn("--work small --quick --rounds 1", done.stdout)
        self.assertNotIn(str(out), done.stdout)

    def test_fanOut(self) -> None:
        """The clients count the notices of a fan-out, with and without answers."""
        done = self.run_("--quick", "--peers", "stock/realm,pbkit-pure/realm,amp,line", "--work", "fanout-100")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Not measured", done.stdout)
        for how in ("no answer", "each answers", "one broadcast at a time"):
            title = f"One small notice to 100 clients, {how}"
            section = done.stdout.partition(f"## {title}\n")[2].partition("## ")[0]
            for name in ("stock/realm", "pbkit-pure/realm", "amp", "line"):
                self.assertIn(f"| {PEERS[name].title} | ", section)

    def test_loginsWithALogFile(self) -> None:
        """Logins are measured with and without a log file, also those of stock's program with the drop-in classes."""
        done = self.run_("--quick", "--peers", "stock/realm,dropin/realm", "--work", "login")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Not measured", done.stdout)
        for title in ("Log in and leave, 10 at a time", "Log in and leave, 10 at a time, with a log file"):
            section = done.stdout.partition(f"## {title}\n")[2].partition("## ")[0]
            for name in ("stock/realm", "dropin/realm"):
                self.assertIn(f"| {PEERS[name].title} | ", section)

    def test_unknownNames(self) -> None:
        """An unknown peer or work is an error that lists the known ones."""
        for option, wrong, right in (("--peers", "sotck", "stock/root"), ("--work", "smal", "small")):
            done = self.run_(option, wrong)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"{option} {wrong}: unknown name: expected one of", done.stderr)
            self.assertIn(right, done.stderr)

    def test_aPeerThatFails(self) -> None:
        """If a process ends at once, the error contains the end of its output."""
        error = self.assertRaises(PeerFailed, Peer, ("stock", "nonsense", "too many"), "server", None)
        self.assertIn("the stock server ended: TypeError", str(error))

    def test_noProcessIsLeftBehind(self) -> None:
        """A contender's process exits when the run that started it has died."""
        peer = Peer(("line",), "server", None)
        self.addCleanup(peer.close)
        assert peer._process.stdin is not None
        peer._process.stdin.close()
        self.assertEqual(peer._process.wait(PATIENCE), 0)

    def test_missingPackage(self) -> None:
        """A peer whose package is not installed is left out, with the reason; the others are measured."""
        missing = attrs.evolve(PEERS["line"], name="missing", needs={"no_such_module": "no-such-package"})
        figures = measure([SMALL], [missing, PEERS["line"]], 1, 0.01, lambda text: None)
        self.assertEqual(figures.why, {("", "missing"): "no-such-package not installed: pip install -e '.[bench]'"})
        self.assertEqual(set(figures.samples), {("small", "line")})

    def test_nothingMeasured(self) -> None:
        """If nothing could be measured, the command fails."""
        self.patch(sys, "stdout", open(Path(self.mktemp()), "w+", encoding="utf-8"))
        self.addCleanup(sys.stdout.close)
        self.patch(sys, "stderr", sys.stdout)
        self.assertEqual(main(["--peers", "amp", "--work", "blob", "--rounds", "1", "--seconds", "0.01"]), 1)
        sys.stdout.seek(0)
        self.assertIn("AMP: blob: AMP limits a value to 65,535 bytes", sys.stdout.read())


class PresenceTests(SynchronousTestCase):
    """The benchmark of presence, with few watchers."""

    def test_quickRun(self) -> None:
        """Changes are told to all watchers, and the run says what that costs."""
        command = [sys.executable, "benchmarks/presence.py", "--watchers", "20", "--changes", "3", "--rounds", "2"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for what in ("3 changes of presence", "one notice"):
            self.assertRegex(done.stdout, rf"{what} +[\d.]+ \(.+\)\n")


class PausesTests(SynchronousTestCase):
    """The benchmark of the garbage collector, with few sessions."""

    def test_quickRun(self) -> None:
        """The longest collection is printed for each phase."""
        for how in ("freeze", "python"):
            command = [sys.executable, "benchmarks/pauses.py", "--sessions", "30", "--gc", how]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            for what in ("while they log in", "while they call"):
                self.assertRegex(done.stdout, rf"{what}: longest [\d.]+ ms, \d+ full\n")


class AudienceTests(SynchronousTestCase):
    """The benchmark of large audiences, with a small audience."""

    def test_quickRun(self) -> None:
        """All messages to everyone and to topics arrive, and the run says so."""
        command = [sys.executable, "-m", "benchmarks.audience", "--quick", "--clients", "30", "--minutes", "1"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for begin in ("nothing is told", "10 broadcasts a second", "one after another"):
            self.assertRegex(done.stdout, rf"  {begin}: p50 [\d.]+ \(.+\) ms, p99 [\d.]+ \(.+\), .+, 30 calls\n")
        self.assertIn(" 3 broadcasts: 90 sent, 0 queued, 0 dropped, 0 gone\n", done.stdout)
        everybody = re.search(r"  heard: ([\d,]+) of ([\d,]+) \(([\d,]+) not parsed", done.stdout)
        assert everybody is not None
        self.assertEqual(everybody[1], everybody[2])
        self.assertGreater(int(everybody[3].replace(",", "")), 300)
        topics = re.search(r"  120 tells: ([\d,]+) sent, 0 queued, 0 dropped, 0 gone; heard: ([\d,]+) of", done.stdout)
        assert topics is not None
        self.assertEqual(topics[1], topics[2])
        self.assertNotEqual(topics[1], "0")
        self.assertRegex(done.stdout, r"  minute 1: 30 live, the server has [\d.]+ MiB, [+-]\d+ KiB\n")

    def test_tooManyClients(self) -> None:
        """A number of clients that is impossible is an error before anything is started."""
        self.patch(sys, "stderr", open(Path(self.mktemp()), "w", encoding="utf-8"))
        self.addCleanup(sys.stderr.close)
        for wrong in (["--clients", "0"], ["--clients", "10000"], ["--minutes", "0"]):
            self.assertEqual(self.assertRaises(SystemExit, audience.main, wrong).code, 2)

    def test_countedNotices(self) -> None:
        """Each notice counts once, whether it arrives alone, with others or in pieces, and calls are still answered."""
        realm = pbkit.CachingRealm(pbkit.Avatar)
        factory, client = pbkit.ServerFactory(Portal(realm, [checker()])), pb.PBClientFactory()
        link = Link(factory.buildProtocol(None), client.buildProtocol(None))
        crowd = Audience(None)
        references: list[object] = []
        client.login(UsernamePassword(b"user1", PASSWORD), Mind(crowd.notice)).addBoth(references.append)
        link.flush()
        (session,) = realm.roster
        chunks: list[bytes] = []
        ear = Ear(crowd, link.client)

        def told(times: int) -> bytes:
            link.client.dataReceived = chunks.append
            for _ in range(times):
                realm.tell("notice", *data.NOTICE)
            link.flush()
            taken = b"".join(chunks)
            chunks.clear()
            link.client.dataReceived = ear
            return taken

        ear(told(1))
        self.assertEqual((crowd.heardSoFar, crowd.counted), (1, 0))
        # From 128 on, the request id is one byte longer.
        ear(told(200))
        self.assertEqual((crowd.heardSoFar, crowd.counted), (201, 200))
        notices = told(3)
        ear(notices[:-5])
        ear(notices[-5:] + told(1))
        self.assertEqual((crowd.heardSoFar, crowd.counted), (205, 200))
        answers: list[object] = []
        session.mind.ask("notice", *data.NOTICE).addBoth(answers.append)
        link.flush()
        self.assertEqual(answers, [None])
        self.assertEqual((crowd.heardSoFar, crowd.counted), (206, 200))
        ear(told(2))
        self.assertEqual((crowd.heardSoFar, crowd.counted), (208, 202))


class PageTests(SynchronousTestCase):
    """The content of the page."""

    def figures(self) -> Figures:
        figures = Figures()
        for cpu, rate in ((4e-5, 9_000.0), (6e-5, 10_000.0), (5e-5, 8_000.0)):
            figures.add(PEERS["stock/root"], SMALL, {"cpu": cpu, "rate": rate})
            figures.add(PEERS["line"], SMALL, {"cpu": cpu / 20, "rate": rate * 30})
        return figures

    def test_medianAndRange(self) -> None:
        """A figure is the median of the rounds, with the minimum and maximum."""
        self.assertEqual(Spread.of([3.0, 9.0, 4.0]), Spread(4.0, 3.0, 9.0))
        text = page.page(self.figures(), [SMALL], machine.description(), "python -m benchmarks", False)
        line = next(line for line in text.splitlines() if line.startswith("| stock PB, root object | 50"))
        self.assertEqual(
            line, "| stock PB, root object | 50.0 (40.0 to 60.0) | 1.00× | 9,000 (8,000 to 10,000) | 1.00× |"
        )

    def test_ratios(self) -> None:
        """A ratio above 1 is better, for figures that should be small and for those that should be large."""
        figures = self.figures()
        self.assertAlmostEqual(figures.ratio(SMALL, PEERS["line"], "cpu") or 0, 20)
        self.assertAlmostEqual(figures.ratio(SMALL, PEERS["line"], "rate") or 0, 30)
        self.assertIsNone(figures.ratio(SMALL, PEERS["amp"], "cpu"))
        self.assertIsNone(figures.ratio(SMALL, PEERS["stock/realm"], "cpu"))

    def test_growth(self) -> None:
        """For lists, the page shows the cost of one int at each length, and its growth."""
        figures, lists = Figures(), [work for work in WORKS if work.name.startswith("ints")]
        for work in lists:
            figures.add(PEERS["stock/root"], work, {"cpu": work.size**2 * 1e-9, "rate": 1.0})
        lines = page.growth(figures, lists)
        self.assertIn("| stock PB, root object | 1,000 | 10,000 | 100,000 | 100 |", lines)

    def test_failureDiscardsSamples(self) -> None:
        """A contender that fails is on the page with the reason, and without its earlier figures."""
        figures = self.figures()
        figures.leftOut(PEERS["line"], SMALL, "it fell over")
        text = page.page(figures, [SMALL], {}, "", False)
        self.assertIn(f"- {PEERS['line'].title}: small: it fell over", text)
        self.assertNotIn(f"| {PEERS['line'].title} |", text)

    def test_memoryInKilobytes(self) -> None:
        """Memory is in kilobytes per client, and less is better."""
        figures = Figures()
        figures.add(PEERS["stock/root"], MEMORY, {"memory": 7000.0})
        figures.add(PEERS["pbkit-pure/root"], MEMORY, {"memory": 3500.0})
        text = page.page(figures, [MEMORY], {}, "", True)
        self.assertIn("| pbkit, pure Python, root object | 3.50 (3.50 to 3.50) | 2.00× |", text)
        self.assertIn("(benchmarks.png)", text)

    def test_theMachineIsNamed(self) -> None:
        """The page names the machine, the versions and the date."""
        said = machine.description()
        self.assertRegex(said["date"], r"^\d{4}-\d\d-\d\d$")
        self.assertRegex(said["machine"], r".+, \d+ cores$")
        self.assertRegex(said["versions"], r"Python [\d.]+.*, Twisted [\d.]+")


class ChoiceTests(SynchronousTestCase):
    """The choice of contenders and works."""

    def test_families(self) -> None:
        """A prefix up to a dash or slash selects all names with that prefix, and no others."""
        self.assertEqual([n for n in PEERS if matches(n, ["stock"])], ["stock/root", "stock/realm"])
        self.assertEqual(len([n for n in PEERS if matches(n, ["pbkit"])]), 6)
        self.assertFalse(matches("small", ["s"]))

    def test_everyContenderHasABaseline(self) -> None:
        """Each contender is compared with one that does the same work."""
        for contender in CONTENDERS:
            for work in WORKS:
                if contender.can(work):
                    self.assertTrue(PEERS[contender.comparedAt(work)].can(work), (contender.name, work.name))

    def test_everyContenderIsAModule(self) -> None:
        """Each contender has a server and a client to run."""
        for contender in CONTENDERS:
            for module, *_ in (contender.server, contender.client):
                self.assertTrue((ROOT / "benchmarks" / "peers" / f"{module}.py").is_file(), module)

    def test_fourKilobytes(self) -> None:
        """The structure has twenty records and about 4 kB."""
        self.assertEqual(len(data.STRUCTURE), 20)
        self.assertTrue(3000 < len(repr(data.STRUCTURE)) < 6000, len(repr(data.STRUCTURE)))

    def test_listsAreTheSameEachTime(self) -> None:
        """Every peer and every run sends the same ints."""
        self.assertEqual(data.value("ints-1000"), data.value("ints-1000"))
        self.assertEqual(len(data.value("ints-1000")), 1000)

    def test_tuplesOnly(self) -> None:
        """For a peer that sends only tuples by value, everything is converted to tuples, at any depth."""
        self.assertEqual(data.frozen([{"a": [1, [2]]}]), ((("a", (1, (2,))),),))


class InsideTests(SynchronousTestCase):
    """The code in the contenders' processes."""

    def test_callsInFlight(self) -> None:
        """Calls are kept in flight until the time is over, and the last ones are waited for."""
        waiting: list[Deferred[None]] = []

        def call() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        pump = Pump(call, 3, 3600)
        self.assertEqual(len(waiting), 3)
        waiting[0].callback(None)
        self.assertEqual(len(waiting), 4)
        pump._until = 0
        for one in waiting[1:]:
            self.assertNoResult(pump.done)
            one.callback(None)
        self.assertEqual(self.successResultOf(pump.done)["count"], 4)

    def test_aCallThatFails(self) -> None:
        """A call that fails makes the measurement fail, once."""
        waiting: list[Deferred[None]] = [Deferred(), Deferred()]
        left = iter(waiting)
        pump = Pump(lambda: next(left), 2, 3600)
        for one in waiting:
            one.errback(ValueError("no"))
        self.failureResultOf(pump.done, ValueError)

    def test_aWrongEcho(self) -> None:
        """A wrong echo is detected before anything is measured."""
        checked([1, 2], [1, 2])
        self.assertRaises(ValueError, checked, [1, 2], [1, 3])

    def test_eachBroadcastHasATurn(self) -> None:
        """The next broadcast follows after the answers to the last, in a reactor turn of its own."""
        events: list[str] = []
        answers: Deferred[None] = Deferred()

        def broadcast(answered: bool) -> Deferred[None] | None:
            events.append("broadcast")
            return answers if answered else None

        def turn() -> Deferred[None]:
            events.append("turn")
            return succeed(None)

        d = Deferred.fromCoroutine(broadcasting(broadcast, turn, {"count": 2, "answered": True}))
        self.assertEqual(events, ["broadcast"])
        answers.callback(None)
        self.successResultOf(d)
        self.assertEqual(events, ["broadcast", "turn"] * 2)

    def test_everyAnswerIsAwaited(self) -> None:
        """A broadcast with answers ends when each client has answered."""
        hub, told = Hub(), list[str]()
        hub.members = dict.fromkeys("abc")
        self.assertIsNone(hub.broadcast(told.append, False))
        done = hub.broadcast(told.append, True)
        assert done is not None
        self.assertEqual(told, list("abcabc"))
        hub.answered()
        hub.answered()
        self.assertNoResult(done)
        hub.answered()
        self.successResultOf(done)
