"""Curvature, information and the paper's lower bound, as functions of arrays: no model, no file, no text."""
