"""`python -m meadow`."""

from meadow.cli.app import main

if __name__ == "__main__":
    main()
