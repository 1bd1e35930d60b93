"""What a kill, at any moment, must not do."""
