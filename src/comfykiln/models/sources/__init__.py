"""Where models come from: addresses, credentials and what each host answers."""
