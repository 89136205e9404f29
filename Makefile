# make TASK is python scripts/course.py TASK, which also runs where there is no make; `make help` lists the tasks.
# make grade FOLDER=hand_ins; make PYTHON=/path/to/python3.11 demo

PYTHON ?= python3
TASKS := demo lab test test-all test-elsewhere site slides student grade notebooks figures bench gpu format clean

.PHONY: help $(TASKS)

help $(TASKS):
	@$(PYTHON) scripts/course.py $@ $(FOLDER)
