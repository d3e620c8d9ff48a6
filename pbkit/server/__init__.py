"""
Where the wire and the sessions meet: the server factory and the login root.

A login flows so: bytes, `Broker`, `LoginRoot`, a fresh channel, ``Portal.login(credentials, ILogin, IPerspective)``,
the realm, a session, and a reference to the session goes to the client.

::

    factory.py      the server factory
    root.py         what a connection may talk to before it has logged in
    challenge.py    PB's own way to prove a password
"""

from pbkit.server.factory import ServerFactory
from pbkit.server.root import Login, LoginRoot

__all__ = ["Login", "LoginRoot", "ServerFactory"]
