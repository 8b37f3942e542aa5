"""`python -m gptoss` is the `gptoss` command."""

import sys

from gptoss.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
