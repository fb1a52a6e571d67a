"""What is asked of a method, one question a file."""
