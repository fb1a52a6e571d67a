"""What every room may use: errors, hashes, atomic files. Standard library only."""
