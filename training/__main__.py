"""`torchrun ... -m training RECIPE --mix DIR --out DIR`: `meadow train` in each process."""

import sys

from meadow.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
