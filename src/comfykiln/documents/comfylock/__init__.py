"""Lock files of comfy-lock."""
