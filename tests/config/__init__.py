"""Mirrors `pbkit.config`."""
