"""Where text comes from. Each kind of source finds its files; reading them is the same for all."""
