"""`python -m super_selfish`, which is `super-selfish`."""

import sys

from super_selfish.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
