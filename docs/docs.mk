# teal.1.scd is written by the command itself, from the tables that it parses by; the other pages by hand. A test compares.
MAN_SOURCES := docs/man/teal.1.scd $(filter-out docs/man/teal.1.scd,$(wildcard docs/man/*.scd))

man: $(BUILD)/teal ## the manual pages, into build/man
	@$(BUILD)/teal help --man >$(BUILD)/teal.1.scd && mv $(BUILD)/teal.1.scd docs/man/teal.1.scd
	@mkdir -p $(BUILD)/man
	@for m in $(MAN_SOURCES); do scdoc <$$m >$(BUILD)/man/$$(basename $$m .scd) || exit 1; done

.PHONY: man
