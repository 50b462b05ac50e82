"""``python -m ptm`` is ``ptm``; what torchrun starts."""

from ptm.cli import main

if __name__ == "__main__":
    main()
