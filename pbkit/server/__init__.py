"""
Where the wire and the sessions meet: the server factory and the login root.

A login flows so: bytes, `Broker`, `LoginRoot`, a fresh channel, ``Portal.login(credentials, ILogin, IPerspective)``,
the realm, a session, and a reference to the session goes to the client.

::

    factory.py      the server factory
    root.py         what a connection may talk to before it has logged in
    arguments.py    what a login may be called with, read by hand
    entry.py        from credentials to a session, or to a refusal
    challenge.py    PB's own way to prove a password
    tries.py        the log-ins of one connection, and what becomes of it when they fail
    patience.py     how long whoever has failed waits to be told so
"""

from pbkit.server.factory import ServerFactory
from pbkit.server.loginflow import Login
from pbkit.server.root import LoginRoot

__all__ = ["Login", "LoginRoot", "ServerFactory"]
