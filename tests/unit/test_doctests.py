"""The examples in the docstrings of the mathematics give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import otsr.degradation
import otsr.transport

MODULES = [
    f"{room.__name__}.{module.name}"
    for room in (otsr.degradation, otsr.transport)
    for module in pkgutil.iter_modules(room.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
    assert found.attempted or name.split(".")[-1] in ("camera", "general", "report"), "it has no example"
