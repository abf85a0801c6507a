# Two commands do all the set-up: `make demo` and `make test`.
.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help
help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/run.ready ## gateway, toy upstreams and a Stripe stand-in on this machine; Ctrl-C ends it
	@$(BIN)/gateway demo

.PHONY: test
test: .venv/dev.ready ## every test; says what it skipped and why
	@$(BIN)/python -m pytest -rs -q -n $$(( $$(nproc 2>/dev/null || echo 3) + 1 )) --maxprocesses 4 --dist worksteal

.PHONY: check
check: .venv/dev.ready ## lint, types, layers, and that schema and docs are current
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/architecture

.PHONY: bench
bench: .venv/dev.ready ## the README's speed table, measured here (about five minutes)
	@$(BIN)/python -m tests.bench

.PHONY: torture
torture: .venv/dev.ready ## the minute-long versions of the crash and load tests
	@GATEWAY_TORTURE=1 $(BIN)/python -m pytest -rs -q tests/stories tests/properties tests/security tests/relay/test_mutations.py tests/shipped/test_image.py

.PHONY: format
format: .venv/dev.ready ## lay the code out as `make check` wants it
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: ## renew the hash-pinned lock files (needs uv)
	@printf 'setuptools\n' | uv pip compile pyproject.toml - --extra postgres --extra redis --extra geo --extra mail --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet --upgrade -o .requirements/run.lock
	@printf 'setuptools\n' | uv pip compile pyproject.toml - --extra dev --extra postgres --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet --upgrade -o .requirements/dev.lock

.PHONY: sbom
sbom: .venv/run.ready ## what the product is made of, from its lock, as CycloneDX JSON
	@$(BIN)/python .ci/sbom

.PHONY: clean
clean: ## remove the virtual environment and caches; data stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

.venv/run.ready: .requirements/run.lock pyproject.toml
	@.ci/venv run

.venv/dev.ready: .requirements/dev.lock pyproject.toml
	@.ci/venv dev
