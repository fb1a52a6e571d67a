"""Tokens in, tokens out: score and generate, behind a protocol that knows neither torch, HTTP nor chat roles."""
