"""Who runs a ladder's jobs. Every executor takes the same jobs and leaves the same files."""
