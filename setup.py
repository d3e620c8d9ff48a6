"""The compiled core of the codec. All else stands in setup.cfg; without a C compiler only speed is lost."""

from setuptools import Extension, setup

setup(ext_modules=[Extension("pbkit.wire.codec._codec", ["pbkit/wire/codec/_codec.c"], optional=True)])
