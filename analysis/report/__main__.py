"""The command `python -m analysis.report`."""

from analysis.report import main

main()
