"""`python -m gnomon`, and so `torchrun ... -m gnomon train ...`."""

from gnomon.cli import main

main()
