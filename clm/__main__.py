"""The console script."""

from clm.cli import main

if __name__ == "__main__":
    main()
