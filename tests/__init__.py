"""The tests of pbkit: trial's TestCases, for pytest and trial alike. See README.md for the command."""
