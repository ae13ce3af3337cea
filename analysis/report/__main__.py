"""The command `python -m analysis.report`."""

from analysis.report.build import main

main()
