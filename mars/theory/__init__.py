"""Curvature, information and the paper's lower bound, as functions of arrays: no model, no file, no text.

moments     the sums over rows that both are made of
curvature   H and G, and their spectra
bound       the paper's bound beside the true factor
"""
