"""What a preference is, and how raw rows become the base, validation and test pairs of a study.

pair, dialogue   the unit that everything works on, and the one way its text is put together
labels           votes, ties and strength as arrays
candidates       several replies to a prompt, with a gold reward where there is one
containers/      what lies in a file: JSON, separated text, Parquet and Arrow, compressed or not
inventory        what stands in a file's columns
sources          files, folders and the hub: raw rows, one after the other
rows             what a raw row is read as, and the defects it may have
turns            turns as people store them, and where a prompt ends
schemas          a raw row to a pair, one function for each dataset
conventions      rows as TRL, ShareGPT and Alpaca have them, whatever the dataset
ranked_replies   rows of several replies and a label: a winner, votes, scores, ranks
shapes           all these by name, and the user's names of columns
recognition      which of them a file is in
bad_rows         rows with a defect: counted, and dropped, kept or an error
columns, numbering   pairs and keys by the million, in little memory
draws            what a seed decides: the order of pairs, the prompts held out, the labels flipped
dataset          all of it in order: read, choose by seed, split
contamination    test pairs that the training data already hold
"""
