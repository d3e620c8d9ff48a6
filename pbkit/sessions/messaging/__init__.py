"""Reaching clients: telling, asking, topics, presence, and what happens when a client is slow."""
