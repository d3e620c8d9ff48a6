"""
Who is here: sessions, who may have one, how long an avatar lives. Knows no socket and no byte.
"""
