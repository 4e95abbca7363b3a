"""Circuits in the initial weights of lmx/guide, and the channels of the residual stream that they use."""
