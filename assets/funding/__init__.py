"""Which chains settle now."""
