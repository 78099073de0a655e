"""The `tolman` command."""
