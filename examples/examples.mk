# The demo apps: static programs, each in a minimal root file system that a spec can name as rootfs:DIR.
EXAMPLES := hello echo
EXAMPLE_DIRS := dev etc proc run sys tmp

examples: $(EXAMPLES:%=$(BUILD)/examples/%/done) ## the demo apps

define EXAMPLE_RULES
$(BUILD)/examples/$(1)/rootfs/bin/$(1): $(wildcard examples/$(1)/*.c examples/$(1)/*.h)
	@mkdir -p $$(@D)
	$$(CC) -D_GNU_SOURCE -std=gnu11 -g -O2 $$(WARN) -static -o $$@ $$(filter %.c,$$^)
$(BUILD)/examples/$(1)/done: $(BUILD)/examples/$(1)/rootfs/bin/$(1) examples/examples.mk
	@mkdir -p $$(addprefix $$(@D)/rootfs/,$(EXAMPLE_DIRS))
	@printf 'root:x:0:0:root:/:/sbin/nologin\napp:x:1000:1000:app:/:/sbin/nologin\n' >$$(@D)/rootfs/etc/passwd
	@printf 'root:x:0:\napp:x:1000:\n' >$$(@D)/rootfs/etc/group
	@touch $$@
endef
$(foreach e,$(EXAMPLES),$(eval $(call EXAMPLE_RULES,$(e))))

.PHONY: examples
