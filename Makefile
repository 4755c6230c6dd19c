# teal: plain make. `make help` lists the targets.
BUILD   ?= build
CC      ?= gcc
VERSION := 0.1.0
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

# SAN=address,undefined or SAN=thread builds everything but the (static) shim with that sanitizer, into its own directory.
SAN ?=
WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wswitch-enum -Wformat=2 -Wvla \
        -Wpointer-arith -Wundef -Wwrite-strings $(if $(WERROR),-Werror)
ifeq ($(SAN),)
OPT  := -O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2
else
OPT  := -O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=undefined
endif
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -DTEAL_VERSION='"$(VERSION)"' -DTEAL_COMMIT='"$(COMMIT)"'
CFLAGS   += -std=gnu11 -g $(OPT) -fPIE -ffunction-sections -fdata-sections -pthread $(WARN)
LDFLAGS  += $(if $(SAN),-fsanitize=$(SAN)) -pie -pthread -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,--as-needed

# Every source file that isn't a main goes into one archive; each program links what it uses of it.
MAINS := agent/main.c agent/cli/main.c proxy/main.c runtime/native/shim/main.c
SHIM_ONLY := $(filter-out runtime/native/shim/main.c,$(wildcard runtime/native/shim/*.c))
SRCS  := $(filter-out $(MAINS) $(SHIM_ONLY),$(wildcard base/*.c config/*.c runtime/*.c runtime/*/*.c health/*.c proxy/*.c agent/*.c agent/*/*.c))
OBJS  := $(SRCS:%.c=$(BUILD)/obj/%.o)
LIB   := $(BUILD)/libteal.a
BINS  := $(BUILD)/teal $(BUILD)/teald $(BUILD)/teal-proxy $(BUILD)/teal-shim $(BUILD)/teal-unpack

LIBS_teald := -luv -lcurl -lmicrohttpd -lsqlite3 -lyaml -lseccomp -lnl-route-3 -lnl-3 -lcap -ljansson -lcrypto
LIBS_teal  := -lcurl -lsmartcols -lyaml -ljansson -lcrypto -luv
LIBS_proxy := -luv -lseccomp -ljansson
LIBS_unpack := -larchive -lseccomp -lcap -ljansson -lcrypto
LIBS_test  := $(LIBS_teald) -lsmartcols -lcmocka

all: $(BINS) examples ## build everything into build/

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# libnl keeps its headers in a place of its own; one file uses them.
$(BUILD)/obj/runtime/native/link.o: CPPFLAGS += -isystem /usr/include/libnl3

$(LIB): $(OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/teald: $(BUILD)/obj/agent/main.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_teald)
$(BUILD)/teal: $(BUILD)/obj/agent/cli/main.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_teal)
$(BUILD)/teal-proxy: $(BUILD)/obj/proxy/main.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_proxy)

$(BUILD)/teal-unpack: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard runtime/image/unpack/*.c)) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_unpack)

# The shim is static: one per container, so its start and its private memory count; never built with a sanitizer.
SHIM_SRCS := runtime/native/shim/main.c $(SHIM_ONLY) base/err.c base/buf.c base/fsx.c base/json.c base/clock.c base/parse.c \
             base/proc.c base/fdpass.c
SHIM_OBJS := $(SHIM_SRCS:%.c=$(BUILD)/shim/%.o)
$(BUILD)/shim/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -std=gnu11 -g -Os -fstack-protector-strong -ffunction-sections -fdata-sections $(WARN) -MMD -MP -c $< -o $@
$(BUILD)/teal-shim: $(SHIM_OBJS)
	$(CC) -static -Wl,--gc-sections -Wl,-z,relro,-z,now -o $@ $^ -ljansson -lcap

# Unit tests: tests/unit/test_x.c is one program.
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_BINS := $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/tests/%)
UNIT_HELP := $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c))
# Helpers of the tests are an archive as well: a test that brings its own fakes must not get them.
$(BUILD)/libtest.a: $(UNIT_HELP:%.c=$(BUILD)/obj/%.o)
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libtest.a $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_test)
# What runs in the test containers: static, the only file of its image.
$(BUILD)/tests/inside: tests/unit/rootfs/inside.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 -O1 $(WARN) -static -o $@ $<
# What looks at a container from inside, and tries what must not work.
$(BUILD)/tests/prober: $(wildcard tests/prober/*.c) tests/prober/prober.h
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 -O1 $(WARN) -static -o $@ $(filter %.c,$^)
unit-bins: $(BUILD)/tests/prober $(UNIT_BINS) $(BINS) $(BUILD)/tests/inside

include examples/examples.mk docs/docs.mk mk/deps.mk mk/test.mk mk/install.mk
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

clean: ## remove what was built
	rm -rf build build-*

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: all clean help unit-bins
.SECONDARY:
