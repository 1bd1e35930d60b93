"""Many obligations become few positions."""
