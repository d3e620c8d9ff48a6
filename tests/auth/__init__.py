"""Mirrors `pbkit.auth`."""
