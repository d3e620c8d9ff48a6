"""
The server factory and the login root, where `pbkit.wire` and `pbkit.sessions` meet.

A login takes these steps: a mechanism makes credentials, the portal checks them, the realm reserves a place, builds the
avatar and begins the session, and the client is granted a reference to the session.

::

    factory.py      the server factory
    root.py         the login root: what a connection may call before login
    arguments.py    the arguments of a login, read by hand
    loginflow.py    one login: from credentials to a session, or to a refusal
    attempts.py     the password logins of one connection, and what failed ones cost
    refusallog.py   the log lines about refused logins
    throttle.py     the failed logins of the server, and how long they delay the next
"""

from pbkit.server.factory import ServerFactory
from pbkit.server.loginflow import Login
from pbkit.server.root import LoginRoot

__all__ = ["Login", "LoginRoot", "ServerFactory"]
