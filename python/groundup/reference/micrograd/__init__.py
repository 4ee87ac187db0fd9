"""Scalar autograd and what stands on it, in the order of reading.

- engine.py: numbers that remember how they were made, and so know their derivatives
- nn.py: neurons, layers and an MLP out of such numbers
- graph.py: an expression drawn
- gradcheck.py: derivatives by nudging, to hold the others to
"""
