"""
The client's side.

::

    connecting.py   connect(): the front door
    session.py      the login while it lasts
    broker.py       the connection that it rides on: what is promised of calls is kept here
    remote.py       what a server raised, as an exception again
    factory.py      ClientFactory, for those who want stock's own way
"""
