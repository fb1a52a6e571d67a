"""Conversations: how messages become the one text that a model was taught to answer."""
