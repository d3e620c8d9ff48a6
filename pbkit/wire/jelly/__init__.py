"""Objects to messages and back."""
