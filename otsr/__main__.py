"""`python -m otsr` is the command `otsr`."""

from otsr.cli import main

if __name__ == "__main__":
    main()
