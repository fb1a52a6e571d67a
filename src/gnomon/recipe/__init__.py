"""What to run, as typed, frozen, hashed values. Knows nothing of torch."""
