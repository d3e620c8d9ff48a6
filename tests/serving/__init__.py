"""Mirrors `pbkit.serving`."""
