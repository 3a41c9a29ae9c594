# SPDX-License-Identifier: Apache-2.0
"""`python -m codegemma`: the command line."""

import sys

from codegemma.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
