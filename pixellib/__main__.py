"""`python -m pixellib`, and so `torchrun -m pixellib train NAME`."""

from pixellib.series.cli import main

if __name__ == "__main__":
    main()
