"""What a run leaves behind: its directory, its manifest and its tables.

layout            every file's name, and what it holds
run_directory     writing them, and reading all of them at once
facts             what they say, and what is wrong with it
remeasured        stated numbers, held to the scores beside them
manifest, tables  what goes into manifest.json, and into the parquet tables
run_log           run.log
ledger            who works on which run of a study
"""
