"""Tests of `pbkit/wire/jelly/`."""
