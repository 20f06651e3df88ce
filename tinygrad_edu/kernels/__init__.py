"""The few hot paths: each has a readable definition elsewhere and one fast kernel here."""
