"""Mirrors `pbkit.server`."""
