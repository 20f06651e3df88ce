"""What scripts only ask for in passing: settings, absent devices, refusals, old names."""
