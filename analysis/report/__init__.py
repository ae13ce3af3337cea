"""A study's exhibits, verdict and runs as one page: `python -m analysis.report study=DIR`.

build                     everything under DIR/report
verdict, wording          the sentences on comparisons, and the warnings
downstream, judged        those on what reward models are worth: picks and policies, and what judges say of them
contents, glance, forest  what goes where on the page; its first screen, in words and drawn
terminal, bars            what it leaves on the terminal: a picture in text, and the sentences that matter
page, run_list, reproduce   the page, its list of runs, and the commands that make the study again
"""


def main() -> None:
    """`python -m analysis.report`."""
    from analysis.report.build import main as build  # here, because pandas and matplotlib come with it

    build()
