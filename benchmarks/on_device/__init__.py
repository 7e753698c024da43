"""The parts of `gpu.py`: pictures to work on, what is timed, and what must hold."""
