"""Mirrors `pbkit.wire`."""
