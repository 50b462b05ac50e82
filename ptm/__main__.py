"""``python -m ptm`` is ``ptm``; what torchrun starts."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # The working directory, which Python puts first: files in it that are named like modules are none of ours.
    del sys.path[0]

from ptm.cli.app import main

if __name__ == "__main__":
    main()
