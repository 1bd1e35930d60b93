"""What kills, races, stopped processes, wrong clocks and a dying server must not do to the records.

Each module is one kind of fault: a test runs a short campaign of it, `python -m tests.faults.<name>` a long one.
"""
