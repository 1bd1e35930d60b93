"""What moves: all sides or none."""
