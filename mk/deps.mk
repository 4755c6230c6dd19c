# Debian packages by name: what is missing of them is installed before the targets that need them.
DEPS_BUILD := gcc make pkg-config libc6-dev libuv1-dev libcurl4-openssl-dev libjansson-dev libyaml-dev libseccomp-dev \
              libmicrohttpd-dev libsqlite3-dev libssl-dev libnl-route-3-dev libcap-dev uthash-dev libsmartcols-dev libarchive-dev scdoc
DEPS_RUN   := nftables iproute2
DEPS_DEMO  := $(DEPS_BUILD) $(DEPS_RUN) wrk curl jq
DEPS_TEST  := $(DEPS_DEMO) libcmocka-dev python3 python3-pytest procps zstd busybox-static iptables
DEPS_BENCH := $(DEPS_TEST) haproxy nginx-light libnginx-mod-stream crun runc iperf3
DEPS_DEV   := clang clang-format clang-tidy cppcheck
DEPS_DEB   := $(DEPS_BUILD) dpkg-dev binutils

deps: deps-test ## install what building and testing needs (Debian packages, as root)
deps-build deps-demo deps-test deps-bench deps-dev deps-deb:
	@mk/deps.sh $(DEPS_$(shell echo $(@:deps-%=%) | tr a-z A-Z))

.PHONY: deps deps-build deps-demo deps-test deps-bench deps-dev deps-deb
