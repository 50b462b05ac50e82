"""``python -m ptm`` is ``ptm``; what torchrun starts."""

from ptm.cli.app import main

if __name__ == "__main__":
    main()
