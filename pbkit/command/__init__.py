"""
What the `pbkit` command does.

::

    onecall.py      one login, its calls, goodbye;  watch
    asjson.py       what is printed;  lines.py: what is read
    scaffold.py     the project that ``init`` writes, from templates/
"""
