"""`python -m emflow` is `emflow`."""

from emflow.cli import main

if __name__ == "__main__":
    main()
