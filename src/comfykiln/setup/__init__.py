"""What ./kiln does to a machine before a task can run: the Python environment, the engine.

Standard library only, since it runs before anything is installed; every change is said.
"""
