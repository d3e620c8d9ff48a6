"""Mirrors `pbkit.command`."""
