"""
Who is logged in. This half knows no sockets and no bytes: it meets `pbkit.wire` in `pbkit.server`.

::

    realm.py        what users override, and what portals and servers call
    realms.py       the named realms
    parameters.py   the parameters of realms: declared once, with types and defaults
    reconfigure.py  new parameters for a running realm
    operations.py   kick, ban, drain
    bans.py         banned users and addresses
    expiry.py       the end of idle and old sessions
    counters.py     what a realm counts
    clock.py        the avatar of ClockRealm
    session.py      one login; the client's reference points at it
    avatar.py       the base class of users' avatars
    avatarclass.py  mistakes in an avatar class, found at the start
    lifecycle.py    how long an avatar lives
    roster.py       the registry of live sessions and reserved places
    goodbye.py      how the server says goodbye to a client
    stocklogin.py   a login through a stock factory
    sharedcall.py   one call that several callers wait for
    waiters.py      callers that wait for one event
    listeners.py    callbacks for one event
    login/          how a login becomes a session
    messaging/      how clients are reached
"""
