"""
What an operator wants: from flags and a file to frozen dataclasses. Pure: imports no realm, knows no reactor.

::

    values.py       the dataclasses, and the settings that flags and file share
    file.py         a TOML file, and the flags above it
    lines.py        at which line each key of a file stands
    bounds.py       fields of frozen classes as keys of a file
"""
