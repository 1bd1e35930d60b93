"""Faults of the machine below: power, disk, system calls."""
