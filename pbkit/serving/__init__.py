"""
From the settings to a running server. The only place that wires all packages together.

::

    resolve.py      looks up realms, avatars, profiles and classes, and checks parameters
    plan.py         decides and checks everything, opens nothing
    exposure.py     warns about secrets that other users of the machine can read
    service.py      opens what was decided: listeners and the factory
    collection.py   when the garbage collector runs
    reload.py       rereads the file on SIGHUP
    showconfig.py   the output of --print-config
    announce.py     how to log in to a server without --auth
"""
