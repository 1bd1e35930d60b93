"""What the prime brokers allow."""
