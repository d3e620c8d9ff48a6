"""The command: ``python -m tests.soak --seconds N``."""

import sys

from tests.soak.parts import main

sys.exit(main(sys.argv[1:]))
