"""Strangers' bytes become checked values."""
