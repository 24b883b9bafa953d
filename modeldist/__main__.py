"""`python -m modeldist`: the command line."""

from modeldist.cli.main import run

if __name__ == "__main__":
    run()
