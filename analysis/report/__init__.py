"""A study's exhibits, verdict and runs as one page: `python -m analysis.report study=DIR`."""
