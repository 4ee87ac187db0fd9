"""Models that make up names, one character at a time, in the order of the lectures.

- words.py: names as numbers; what comes next, given the last few characters
- training.py: the loop, the loss on held-out names, sampling; every model is a Module that takes
  ids (B, block) to logits (B, V), and so can take another's place
- bigram.py: counting pairs, and the same by gradient
- mlp.py: Bengio's network, what goes wrong at its start, and BatchNorm
- backprop.py: that network's gradients by hand
- wavenet.py: neighbours joined two by two; dilated gated convolutions
- recurrent.py: RNN, GRU, LSTM
- transformer.py: attention over the block
- experiment.py: many runs, compared
"""
