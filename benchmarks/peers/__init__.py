"""
The peers: one module each, with a server and a client: ``python -m benchmarks.peers.NAME server|client``.
"""
