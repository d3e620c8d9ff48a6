"""
From a configuration to a running server.

::

    resolve.py      names to realms, avatars and parameters
    plan.py         decides and checks everything, opens nothing
    service.py      opens what was decided, and wires it
    reload.py       reads the file again on SIGHUP
    printed.py      what --print-config shows;  announce.py: what a guest is told
"""
