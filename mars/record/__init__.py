"""What a run leaves behind: its directory, its manifest and its tables.

run_directory   every file's name; writing them, and reading all of them at once
facts           what they say, and what is wrong with it
manifest, tables   what goes into manifest.json, and into the parquet tables
"""
