#include "runtime/native/bundle_read.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsx.h"
#include "base/own.h"
#include "runtime/native/bundle.h"

#define CONFIG_MAX_BYTES (4u << 20)
#define RECORD_MAX_BYTES 4096u

static int load(const char *dir, const char *name, size_t max, json_t **ret, struct err *err)
{
	OWN_BUF struct buf text = { 0 };
	OWN_FREE char *path = fs_join(dir, name, NULL);
	if (!path)
		return err_set(err, ENOMEM, "read %s", name);
	int r = fs_read_file(AT_FDCWD, path, max, &text, err);
	return r < 0 ? r : json_parse(text.data ? text.data : "", text.len, path, ret, err);
}

static void read_ports(const char *text, struct rt_state *state)
{
	while (text && *text && state->n_ports < RT_PORTS_MAX) {
		char *end;
		state->ports[state->n_ports++] = (uint16_t)strtoul(text, &end, 10);
		text = *end == ',' ? end + 1 : NULL;
	}
}

static void read_address(const char *network, const char *address, struct rt_state *state)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&state->address;
	char text[INET_ADDRSTRLEN];
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (strcmp(network, "private") != 0)
		return;
	snprintf(text, sizeof text, "%.*s", (int)strcspn(address, "/"), address);
	inet_pton(AF_INET, text, &in->sin_addr);
}

static void read_state(const json_t *j, struct bundle_info *ret)
{
	char boot_id[BOOT_ID_LEN];
	const json_t *init = json_object_get(j, "init");
	clock_boot_id(boot_id);
	ret->this_boot = strcmp(json_str(j, "boot_id", ""), boot_id) == 0;
	ret->init_pid = (pid_t)json_int(init, "pid", 0);
	ret->init_start = (uint64_t)json_int(init, "start_time", 0);
	ret->state.pid = ret->init_pid;
	ret->state.started_ms = json_int(j, "started_ms", 0);
}

int bundle_read(const char *dir, struct bundle_info *ret, struct err *err)
{
	OWN_JSON json_t *config = NULL, *state = NULL;
	struct bundle_info info = { 0 };
	int r = load(dir, BUNDLE_CONFIG, CONFIG_MAX_BYTES, &config, err);
	if (r < 0)
		return r;
	const json_t *notes = json_object_get(config, "annotations");
	snprintf(info.state.id, sizeof info.state.id, "%s", json_str(notes, NOTE_ID, ""));
	snprintf(info.address, sizeof info.address, "%s", json_str(notes, NOTE_ADDRESS, ""));
	snprintf(info.gateway, sizeof info.gateway, "%s", json_str(notes, NOTE_GATEWAY, ""));
	read_ports(json_str(notes, NOTE_PORTS, ""), &info.state);
	read_address(json_str(notes, NOTE_NETWORK, "none"), info.address, &info.state);
	info.state.userns = json_object_get(json_object_get(config, "linux"), "uidMappings") != NULL;
	info.started = load(dir, BUNDLE_STATE, RECORD_MAX_BYTES, &state, NULL) == 0;
	if (info.started)
		read_state(state, &info);
	*ret = info;
	return 0;
}

int bundle_read_exit(const char *dir, struct rt_exit *ret)
{
	OWN_JSON json_t *j = NULL;
	int r = load(dir, BUNDLE_EXIT, RECORD_MAX_BYTES, &j, NULL);
	if (r < 0)
		return r;
	*ret = (struct rt_exit){ .code = (int)json_int(j, "code", -1),
		.signal = (int)json_int(j, "signal", 0),
		.oom = json_flag(j, "oom", false),
		.at_ms = json_int(j, "at_ms", 0) };
	return 0;
}

static pid_t lock_holder(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	return fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

int bundle_open_shim(const char *dir, struct proc *ret)
{
	OWN_FREE char *path = fs_join(dir, BUNDLE_CONFIG, NULL);
	OWN_FD int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	struct proc shim = PROC_NONE;
	pid_t pid = fd < 0 ? 0 : lock_holder(fd);
	int r = pid > 0 ? proc_open(pid, 0, &shim, NULL) : -ESRCH;
	/* Asked again: the number may have been somebody else's by the time that it was opened. */
	if (r == 0 && lock_holder(fd) != pid) {
		proc_close(&shim);
		r = -ESRCH;
	}
	if (r == 0)
		*ret = shim;
	return r;
}
