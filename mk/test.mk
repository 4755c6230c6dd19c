# Tests, from the quickest to the longest. Everything with `deps-…` in front installs what it needs first, then calls
# make again: the compiler itself may be among it.
ASAN  := $(BUILD)-asan
TSAN  := $(BUILD)-tsan
# Tests are for the word "python3" of the distribution: no packages but its own.
PYTEST := /usr/bin/python3 -m pytest -p no:cacheprovider

demo: deps-demo ## two deployments and a rollback under load, in real containers
	@$(MAKE) --no-print-directory -s all
	@TEAL_BUILD=$(BUILD) examples/demo.sh

test: deps-test ## every test that fits into minutes
	@$(MAKE) --no-print-directory check

check: all unit-bins hygiene unit asan-unit system asan-system
	@echo "all tests passed (skipped ones, if any, are named above with their reasons)"

hygiene: ## rules of the tree: who includes whom, risky calls, leftovers
	$(PYTEST) -q tests/hygiene

unit: unit-bins ## unit tests (cmocka)
	@tests/run-units.sh $(UNIT_BINS)

asan-unit: ## unit tests under address, undefined behaviour and leak sanitizers
	@$(MAKE) --no-print-directory -s BUILD=$(ASAN) SAN=address,undefined unit-bins
	@tests/run-units.sh $(UNIT_BINS:$(BUILD)/%=$(ASAN)/%)

system: all $(BUILD)/tests/prober $(BUILD)/bench/start_bundle $(BUILD)/tests/inside ## end to end, against the real binaries
	TEAL_BUILD=$(BUILD) $(PYTEST) -q -m 'not long' tests/system

asan-system: ## the end-to-end tests marked `sanitized`, with agent, proxy and command built with sanitizers
	@$(MAKE) --no-print-directory -s BUILD=$(ASAN) SAN=address,undefined all
	TEAL_BUILD=$(ASAN) TEAL_SANITIZED=1 $(PYTEST) -q -m 'sanitized and not long' tests/system

test-long: test ## also what takes longer: soak, every crash point, all end-to-end tests under sanitizers
	@TEAL_LONG=1 tests/run-units.sh $(BUILD)/tests/test_proxy_matrix
	TEAL_BUILD=$(BUILD) $(PYTEST) -q -m long tests/system
	TEAL_BUILD=$(ASAN) TEAL_SANITIZED=1 $(PYTEST) -q tests/system

asan: deps-test ## all tests under address and undefined behaviour sanitizers
	@$(MAKE) --no-print-directory asan-unit
	@$(MAKE) --no-print-directory -s BUILD=$(ASAN) SAN=address,undefined all
	TEAL_BUILD=$(ASAN) TEAL_SANITIZED=1 $(PYTEST) -q -m 'not long' tests/system

tsan: deps-test ## unit tests under the thread sanitizer
	@$(MAKE) --no-print-directory -s BUILD=$(TSAN) SAN=thread unit-bins
	@tests/run-units.sh $(UNIT_BINS:$(BUILD)/%=$(TSAN)/%)

BENCHES := $(wildcard tests/bench/bench_*.py)
bench: deps-bench ## measure, side by side with what else there is
	@$(MAKE) --no-print-directory -s all bench-bins
	@for b in $(BENCHES); do TEAL_BUILD=$(BUILD) /usr/bin/python3 $$b || exit 1; done
bench-proxy: deps-bench ## the proxy beside HAProxy, nginx and no proxy
	@$(MAKE) --no-print-directory -s all bench-bins
	@TEAL_BUILD=$(BUILD) /usr/bin/python3 tests/bench/bench_proxy.py

# The programs of the benchmarks build in the ordinary build, so that they don't rot.
BENCH_BINS := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(BUILD)/libtest.a $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_test)
bench-bins: $(BENCH_BINS)
unit-bins: bench-bins

# Fuzz targets are LLVMFuzzerTestOneInput functions. The ordinary build links them with a small main that runs them over
# their seeds, so that they don't rot; `make fuzz` lets clang's libFuzzer loose on them.
FUZZ_SRCS := $(filter-out tests/fuzz/standalone.c,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BINS := $(FUZZ_SRCS:tests/fuzz/%.c=$(BUILD)/fuzz/%)
FUZZ_SECONDS ?= 60
$(BUILD)/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/standalone.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_test)
unit-bins: $(FUZZ_BINS)

fuzz: deps-dev deps-test ## libFuzzer on each target for FUZZ_SECONDS (60)
	@for f in $(FUZZ_SRCS:tests/fuzz/%.c=%); do \
		$(MAKE) --no-print-directory -s BUILD=$(BUILD)-fuzz CC=clang SAN=fuzzer-no-link,address,undefined FUZZ=$$f fuzz-one || exit 1; done
fuzz-one: $(BUILD)/obj/tests/fuzz/$(FUZZ).o $(LIB)
	clang $(LDFLAGS) -fsanitize=fuzzer -o $(BUILD)/$(FUZZ) $^ $(LIBS_test)
	@mkdir -p $(BUILD)/corpus/$(FUZZ)
	$(BUILD)/$(FUZZ) -max_total_time=$(FUZZ_SECONDS) -timeout=5 -artifact_prefix=$(BUILD)/ \
		$(BUILD)/corpus/$(FUZZ) $(wildcard tests/fuzz/seeds/$(FUZZ))

FORMATTED := $(shell git ls-files '*.c' '*.h' 2>/dev/null)
analyze: deps-dev deps-test ## static analysis: cppcheck, clang's analyzer, gcc's -fanalyzer
	cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability --suppress=missingIncludeSystem \
		-I. -D_GNU_SOURCE $(filter-out tests/%,$(filter %.c,$(FORMATTED)))
	clang-tidy --quiet --warnings-as-errors='*' --checks='-*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling' \
		$(SRCS) $(MAINS) -- $(CPPFLAGS) -std=gnu11

format: deps-dev ## clang-format all of it
	clang-format -i $(FORMATTED)
format-check: deps-dev ## does clang-format agree?
	clang-format --dry-run --Werror $(FORMATTED)

.PHONY: demo test check hygiene unit asan-unit system asan-system test-long asan tsan bench bench-proxy bench-bins fuzz \
        fuzz-one analyze format format-check
