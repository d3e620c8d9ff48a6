"""Tests of `pbkit/wire/prelogin/`."""
