"""`python -m runner` is `steprun`."""

from runner.cli import main

if __name__ == "__main__":
    main()
