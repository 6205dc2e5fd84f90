"""The line: from a plan to a sealed, tagged and exported image."""
