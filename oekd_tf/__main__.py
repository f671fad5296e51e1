"""`python -m oekd_tf COMMAND ...`, the same as `oekd COMMAND ...`."""

from oekd_tf.cli import main

main()
