# Installing by hand (DESTDIR and PREFIX as usual), and as a Debian package. The agent finds its helpers beside its own
# binary, so the three live together and sbin has a link.
PREFIX  ?= /usr
DESTDIR ?=
MANUALS := $(wildcard docs/man/*.scd)

install: all ## into $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/lib/teal
	install -m 0755 $(BUILD)/teal $(DESTDIR)$(PREFIX)/bin/
	install -m 0755 $(BUILD)/teald $(BUILD)/teal-proxy $(BUILD)/teal-shim $(BUILD)/teal-unpack $(DESTDIR)$(PREFIX)/lib/teal/
	ln -sf ../lib/teal/teald $(DESTDIR)$(PREFIX)/sbin/teald
	for m in $(MANUALS); do n=$$(basename $$m .scd); d=$(DESTDIR)$(PREFIX)/share/man/man$${n##*.}; \
		install -d $$d && scdoc <$$m >$$d/$$n || exit 1; done

deb: deps-deb ## a Debian package, build/teal_VERSION_ARCH.deb
	@$(MAKE) --no-print-directory -s all
	@BUILD=$(BUILD) VERSION=$(VERSION) MAKE="$(MAKE) --no-print-directory" mk/deb.sh

.PHONY: install deb
