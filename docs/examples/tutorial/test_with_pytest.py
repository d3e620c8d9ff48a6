"""Tests written for pytest, with the fixture that pbkit installs."""

import pytest

from game import GameRealm
from pbkit.errors import InternalError, TooManySessions
from pbkit.testing import RecordingMind


def test_third_login_is_refused(pbkit_server):
    server = pbkit_server(GameRealm())
    server.login("alice")
    server.login("alice")
    with pytest.raises(TooManySessions):
        server.login("alice")


def test_watcher_is_told(pbkit_server):
    server = pbkit_server(GameRealm(start=50))
    watcher = RecordingMind(scoreIs=lambda score: None)
    server.login("alice", watcher)
    server.login("alice").call("move", 10)
    assert watcher.told == [("scoreIs", 60)]


def test_bad_move(pbkit_server):
    server = pbkit_server(GameRealm())
    with pytest.raises(InternalError):
        server.login("alice").call("move", "a lot")
    assert len(server.flushLoggedErrors(TypeError)) == 1
