"""The remote clock: it calls its client five times a second."""

from pbkit import ClockRealm

realm = ClockRealm(period=0.2)
