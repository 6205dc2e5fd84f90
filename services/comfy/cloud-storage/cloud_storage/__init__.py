"""The nodes and what they need; importing this package imports neither ComfyUI nor boto3."""
