"""
The work of the `pbkit` command. `pbkit.cli` parses its options.

::

    onecall.py      logs in and calls one method, or one per input line, or watches
    asjson.py       arguments and answers as JSON
    lines.py        reads lines of standard input
    scaffold.py     the project that ``init`` writes, from templates/
"""
