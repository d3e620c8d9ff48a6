"""
Bytes: brokers, channels, peers. Knows no session.
"""
