"""How a login becomes a session: admission, arbitration, takeover, and the hooks of the avatar."""
