"""schemathesis against a real control plane: every documented operation, with what is valid and what is not."""
