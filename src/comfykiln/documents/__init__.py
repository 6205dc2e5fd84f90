"""Every document in, every document out: formats that describe a ComfyUI environment."""
