"""The parts of `lab doctor`: what is examined, what can be mended, and the support bundle."""
