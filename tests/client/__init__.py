"""Mirrors `pbkit.client`."""
