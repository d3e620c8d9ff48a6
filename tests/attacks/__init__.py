"""Attacks by clients before and after login. Stock is vulnerable to them, and pbkit is not."""
