"""The records: the only SQL that writes, and the questions that they answer."""
