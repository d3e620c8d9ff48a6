"""What an unauthenticated connection may do, and which connections make room for others."""
