"""Data-quality reports: what was promised of the stored records, and what was found."""
