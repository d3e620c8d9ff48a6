"""Tests of `pbkit/sessions/messaging/`."""
