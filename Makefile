# make demo   the whole method on a real phone photo, written to figures/demo.png
# make test   every test: style, types, units, system, every notebook
# make lab    JupyterLab on notebook 00
# make student   the notebooks without solutions, for hand-out, in build/student
# make gpu    CUDA tests and benchmarks on a machine that has a GPU, and one table
# The first call makes .venv and installs the tested versions; later ones start at once.

VENV := .venv/bin
READY := .venv/.ready

.PHONY: help demo test lab student notebooks bench gpu format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(READY): pyproject.toml constraints.txt
	@sh scripts/setup.sh

demo: $(READY)
	@$(VENV)/python figures/demo.py

lab: $(READY)
	$(VENV)/jupyter lab notebooks/00_start_here.ipynb

# One thread a process: two processes share the cores, and outputs of notebooks do not depend on their number.
test: export OMP_NUM_THREADS = 1
test: $(READY)
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/pytest -q -n 2 --dist loadscope
	$(VENV)/pytest -q --nbval --nbval-current-env -n 2 --dist loadscope \
	    --nbval-sanitize-with tests/notebooks/sanitize.cfg notebooks

student: $(READY)
	@$(VENV)/python scripts/student.py

notebooks: $(READY)
	@$(VENV)/python scripts/notebooks.py

bench: $(READY)
	@for script in benchmarks/*.py; do echo "== $$script"; $(VENV)/python $$script || exit 1; done

gpu: $(READY)
	@$(VENV)/python scripts/gpu.py

format: $(READY)
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
