"""
How a login becomes a session.

::

    entrance.py     the steps of a login, from the avatar id to the session, and the release when the session ends
    admission.py    who may log in: pure decisions
    arbitration.py  between a login and its place: asks the policy, does the I/O that it wants, asks again
    cooldown.py     how often an avatar id may change hands
    handover.py     logins that wait until an earlier session is out
    hooks.py        the hooks of an avatar: `attached` and `detached`
    refusals.py     what a client is told when its login fails
"""
