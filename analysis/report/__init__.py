"""A study's exhibits, verdict and runs as one page: `python -m analysis.report study=DIR`.

build      everything under DIR/report
verdict    the sentences, and the warnings; downstream: those on what reward models are worth; wording: of a comparison
contents   what goes where on the page; glance, forest: its first screen, in words and drawn
terminal, bars   what it leaves on the terminal: a picture in text, and the sentences that matter
page, run_list, reproduce   the page, its list of runs, and the commands that make the study again
"""


def main() -> None:
    """`python -m analysis.report`."""
    from analysis.report.build import main as build  # here, because pandas and matplotlib come with it

    build()
