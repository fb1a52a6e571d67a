"""The long ways through the house. Parses nothing, prints nothing: values in, values and lines out."""
