"""What a release is made of: its files, its bill of materials, and the audit of its lock."""
