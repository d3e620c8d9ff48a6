"""
What the operator asked for: from flags and a file to frozen dataclasses. Pure: imports no realm and no reactor.

::

    values.py       the dataclasses, and the settings that flags and file share
    descriptions.py server endpoint descriptions, such as tcp:8787
    file.py         parses the TOML file and combines it with the flags
    lines.py        the line number of each key in the file
    fields.py       the fields of frozen attrs classes as keys of the file
"""
