"""Environment exports of comfydock, comfygit and ours."""
