"""Mistakes that a type checker must find: one in each line that has a comment."""

import cellring

cellring.Lodaer("cells.cellring")  # wrong
loader = cellring.Loader("cells.cellring", batchsize=3)  # wrong
loader = cellring.Loader("cells.cellring", batch_size="3")  # wrong
for minibatch in loader:
    minibatch.observations  # wrong
    minibatch.n_obs.lower()  # wrong
len(cellring.Store("cells.cellring").shape.rows)  # wrong
cellring.Store("cells.cellring").obs.to_pandas("cell_type", 3)  # wrong
