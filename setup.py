"""Build the compiled core of the codec, which is optional. Everything else is in setup.cfg."""

from setuptools import Extension, setup

setup(ext_modules=[Extension("pbkit.wire.codec._codec", ["pbkit/wire/codec/_codec.c"], optional=True)])
