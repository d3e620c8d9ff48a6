"""Tests of `pbkit/wire/codec/`."""
