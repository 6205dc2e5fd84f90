"""What runs inside an image that is verified; it needs nothing of ours."""
