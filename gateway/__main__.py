"""`python -m gateway`, where the command is not installed."""

from gateway.cli import main

if __name__ == "__main__":
    main()
