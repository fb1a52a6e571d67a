"""The transformer, its cache for decoding, and the parametrisation: which init, rate and decay each weight gets."""
