"""What the custodians hold."""
