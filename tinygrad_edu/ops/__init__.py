"""The operations by family; each forward function with its derivative rules beneath it."""
