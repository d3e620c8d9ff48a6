"""
The peers: one module for each, with its server and its client, ``python -m benchmarks.peers.NAME server|client``.
"""
