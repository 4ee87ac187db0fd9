"""`groundup demo`: text, tokens, a model, its score, its text, and how fast each of them was.

story.py     the stations in order, and what lands where
place.py     where it lands, and what becomes of the run before
learning.py  text to tokenizer to shards
training.py  shards to weights, within a wall-clock budget
judging.py   held-out loss against a bigram; a sample
race.py      the same work by others, in turns
screen.py    what the terminal shows
"""
