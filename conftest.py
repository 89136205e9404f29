"""For tests and notebooks alike: what is compared when a notebook runs, wherever pytest is started."""

pytest_plugins = ["tests.notebooks.tolerance", "tests.notebooks.solutions"]
