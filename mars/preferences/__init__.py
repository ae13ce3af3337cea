"""What a preference is, and how raw rows become the base, validation and test pairs of a study.

pair, dialogue   the unit that everything works on, and the one way its text is put together
labels           votes, ties and strength as arrays
sources          files, folders and the hub: raw rows, one after the other
schemas          a raw row to a pair, one function for each dataset
policies         rows with a defect: dropped, kept or an error, and counted
dataset          all of it in order: read, choose by seed, split
contamination    test pairs that the training data already hold
"""
