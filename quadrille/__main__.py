"""`python -m quadrille`: the command line."""

from quadrille.cli.main import main

if __name__ == "__main__":
    main(prog_name="quadrille")
