//! The language of filters, as `--help` explains it.

/// Explains `--obs-filter`. Each indented line of the examples is a filter; a test runs them all.
pub(crate) const FILTER_HELP: &str = "\
Only cells for which this expression is true

  COLUMN == VALUE           also != < <= > >=
  COLUMN in [VALUE, ...]    also not in
  COLUMN is missing         also is not missing
  COLUMN                    a column of booleans
  not A, A and B, A or B    in this order of precedence; ( ) group

A value is a number (200, -1.5, 1e6), a text in single or double quotes, true or false. The name of a column with blanks or other special \
characters stands between backticks. Texts are compared exactly, upper and lower case differ. A comparison with a missing value is neither \
true nor false, so the cell is not taken, not even with != or not; add `or COLUMN is missing` to take it. `cellring obs STORE` lists the columns \
and their values.

Examples:
  cell_type == \"B cell\"
  n_genes >= 200 and pct_mito < 0.1
  cell_type in [\"B cell\", \"T cell\"] and not is_doublet
  cell_type != 'B cell' or cell_type is missing
  `donor id` not in ['d1', 'd2'] and (n_genes > 500 or is_doublet)";
