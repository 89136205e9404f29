"""For tests and notebooks alike: outputs of notebooks are compared as words and numbers, wherever pytest is started."""

pytest_plugins = ["tests.notebooks.tolerance"]
