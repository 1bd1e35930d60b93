"""What the stored records of a cycle must say: rules as data, each with the sentence an auditor reads."""
