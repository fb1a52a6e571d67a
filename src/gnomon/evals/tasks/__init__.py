"""The tasks that come with gnomon: how each asks and grades. Names: catalogue.py; data: a folder."""
