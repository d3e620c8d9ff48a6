"""Mirrors `pbkit.sessions`."""
