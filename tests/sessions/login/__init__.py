"""Tests of `pbkit/sessions/login/`."""
