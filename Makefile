# Every target sets up .venv by itself: Python >= 3.10 with its venv module is all that must be there before.
PYTHON ?= python3
BIN := .venv/bin
VERSIONED_TESTS := $(addprefix tests/,training/test_trainer.py training/test_resume.py training/test_checkpoint.py \
	training/test_training_processes.py encoders/test_families.py)

TORCHVISION_TESTS := $(addprefix tests/,training/test_use_cases.py training/test_ultralytics.py \
	curriculum_learning/test_reference_torchvision.py)

.PHONY: demo test test-fast test-slow test-transformers4 test-torchcodec test-torchvision test-space docs notebooks quality style release-check

demo: .venv/installed  ## score digits, train on them easy-first, draw a picture and a report
	$(BIN)/hf-curriculum demo --output demo

# A file stays on one core, so that what its tests share is made once. Here nothing that is not installed may be skipped.
PYTEST := NO_SKIPS=1 $(BIN)/pytest

test: .venv/installed  ## the default suite
	$(PYTEST) -n auto --dist loadfile

test-fast: .venv/installed  ## most of it, for the loop of a developer
	$(PYTEST) -n auto --dist loadfile -m 'not slow and not costly'

test-slow: .venv/installed  ## tests that start processes, push, train or draw for long
	$(PYTEST) -n auto --dist loadfile -m slow

test-transformers4: .venv-transformers4/installed  ## trainer and encoders with transformers 4
	.venv-transformers4/bin/pytest -n auto --dist loadfile -m 'slow or not slow' $(VERSIONED_TESTS)

test-torchcodec: .venv/torchcodec  ## sounds and films that datasets decodes; wants FFmpeg
	PYTHONPATH=.venv/torchcodec $(BIN)/pytest -m 'slow or not slow' tests/embedding/test_decoded.py

test-torchvision: .venv-torchvision/installed  ## detectors of torchvision and of Ultralytics; 6 GB of disk
	NO_SKIPS=1 .venv-torchvision/bin/pytest -m 'slow or not slow' -k 'R-CNN or yolo or quick_start' $(TORCHVISION_TESTS)

test-space: .venv-space/installed  ## the app of space/, with Gradio; wants Chromium
	NO_SKIPS=1 .venv-space/bin/pytest -m 'slow or not slow' tests/space

docs: .venv/installed  ## the pages of docs/ and one of all public names, to docs/_build
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

notebooks: .venv/installed  ## executes them anew; NOTEBOOK_DATA names a folder of data where there is no Hub
	$(BIN)/python tests/helpers/executing.py

quality: .venv/installed  ## what CI checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

style: .venv/installed  ## mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

release-check: .venv-release/installed  ## what would be released: builds it, and runs the demo from the wheel in an empty environment
	rm -rf dist .venv-wheel
	.venv-release/bin/hatchling build
	.venv-release/bin/twine check --strict dist/*
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/pip install --quiet -c constraints.txt "$$(ls $$PWD/dist/*.whl)[all]"
	cd dist && ../.venv-wheel/bin/hf-curriculum demo --output ../.venv-wheel/demo --steps 30

.venv-release/installed: constraints.txt
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet -c constraints.txt hatchling twine
	touch $@

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[all,dev]'
	touch $@

.venv-transformers4/installed: pyproject.toml constraints-transformers4.txt
	$(PYTHON) -m venv .venv-transformers4
	.venv-transformers4/bin/pip install --quiet -c constraints-transformers4.txt -e '.[all,test]'
	touch $@

# Beside the others: where it is installed, datasets reads audio folders by it, which the default tests do without.
.venv/torchcodec: .venv/installed
	$(BIN)/pip install --quiet --no-deps --target $@ torchcodec==0.13.0
	touch $@

# As on the Hub. Gradio caps Pillow and tomlkit below the versions that the rest is tested with.
.venv-space/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-space
	grep -vE '^(pillow|tomlkit)==' constraints.txt > .venv-space/constraints.txt
	.venv-space/bin/pip install --quiet -c .venv-space/constraints.txt -e '.[all,test]' gradio playwright
	touch $@

# torch and torchvision must be a pair. Of Ultralytics (AGPL-3.0), which no other environment has, only what its trainer needs.
.venv-torchvision/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-torchvision
	grep -v '^torch==' constraints.txt > .venv-torchvision/constraints.txt
	.venv-torchvision/bin/pip install --quiet -c .venv-torchvision/constraints.txt -e '.[all,test]' diffusers trl \
		torch==2.14.1 torchvision==0.29.1 polars==2.1.0 py-cpuinfo==9.0.0
	.venv-torchvision/bin/pip install --quiet --no-deps ultralytics==8.4.190 ultralytics-thop==2.2.3 \
		opencv-python-headless==5.0.0.93
	touch $@
