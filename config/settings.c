#include "config/settings.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/own.h"
#include "config/config.h"
#include "config/paths.h"
#include "config/schema.h"
#include "config/syntax.h"

#define MOST_WORKERS 16

#define AT(member) .offset = offsetof(struct settings, member)

static const char *const userns_modes[] = {
	[USERNS_REQUIRED] = "required",
	[USERNS_PREFERRED] = "preferred",
	NULL,
};

static const struct schema_row rows[] = {
	{ .key = "userns",
		.type = SCHEMA_ENUM,
		AT(userns),
		.names = userns_modes,
		.def = "required",
		.help = "User namespaces: root of a container is nobody outside. `preferred`: where the "
			"kernel refuses them, "
			"containers run without; status and doctor say so." },
	{ .key = "network_pool",
		.type = SCHEMA_TEXT,
		AT(network_pool),
		.check = syntax_network,
		.example = "10.88.0.0/16",
		.help = "The IPv4 network that containers get their addresses from. Unset: one that meets "
			"none of this host's "
			"routes." },
	{ .key = "proxy_workers",
		.type = SCHEMA_UINT,
		AT(proxy_workers),
		.min = 1,
		.max = MOST_WORKERS,
		.example = "2",
		.help = "Loops of the proxy, each on a thread. Unset: as many as there are CPUs, at most "
			"16." },
	{ .key = "proxy_user",
		.type = SCHEMA_TEXT,
		AT(proxy_user),
		.check = syntax_account,
		.example = "teal-proxy",
		.help = "Who the proxy runs as: a name or a uid. Unset: `teal-proxy` if there is such a "
			"user, else `nobody`." },
};

const struct schema settings_schema = { rows, ARRAY_LEN(rows) };

/* The real path of something that may not be there yet: that of what is there of it, and the rest. */
static char *real_path(const char *path)
{
	OWN_FREE char *there = strdup(path);
	if (!there)
		return NULL;
	for (size_t n = strlen(there); n > 0; n--) {
		if (path[n] && path[n] != '/')
			continue;
		there[n] = '\0';
		char real[PATH_MAX];
		if (!realpath(there, real))
			continue;
		OWN_BUF struct buf whole = { 0 };
		buf_addf(&whole, "%s%s", real, path + n);
		return buf_take(&whole);
	}
	return strdup(path);
}

static int set_tag(struct settings *s)
{
	char digest[DIGEST_LEN];
	OWN_FREE char *real = real_path(s->state_dir);
	if (!real)
		return -ENOMEM;
	digest_of(real, strlen(real), digest);
	snprintf(s->tag, sizeof s->tag, "%.6s", digest + DIGEST_HEX);
	return 0;
}

/* ROOT/name, or the system's own place. NULL: out of memory. */
static char *place(const char *root, const char *name, const char *system)
{
	return root ? path_absolute(root, name) : strdup(system);
}

/* The directory of the running program; TEAL_LIBEXEC says otherwise. */
static char *find_libexec(void)
{
	char self[PATH_MAX];
	const char *named = getenv("TEAL_LIBEXEC");
	if (named && *named)
		return path_absolute(NULL, named);
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(self, '/');
	return slash && slash > self ? strndup(self, (size_t)(slash - self)) : strdup("/usr/libexec/teal");
}

static int set_places(struct settings *s, const char *root)
{
	s->system = !root;
	if (root && !(s->root = path_absolute(NULL, root)))
		return -ENOMEM;
	s->state_dir = place(s->root, "state", "/var/lib/teal");
	s->run_dir = place(s->root, "run", "/run/teal");
	s->socket_path = place(s->root, "run/teal.sock", "/run/teal/teal.sock");
	s->libexec_dir = find_libexec();
	return s->state_dir && s->run_dir && s->socket_path && s->libexec_dir ? set_tag(s) : -ENOMEM;
}

static uint32_t count_cpus(void)
{
	cpu_set_t cpus;
	int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	return (uint32_t)(n > MOST_WORKERS ? MOST_WORKERS : n);
}

static int set_defaults(struct settings *s)
{
	static const char user[] = "teal-proxy";
	if (s->proxy_workers == 0)
		s->proxy_workers = count_cpus();
	if (!s->proxy_user)
		s->proxy_user = strdup(getpwnam(user) ? user : "nobody");
	return s->proxy_user ? 0 : -ENOMEM;
}

static int read_keys(struct settings *s, const char *path, const struct buf *text, struct diag_list *d)
{
	OWN_NODE struct node *root = NULL;
	size_t errors = d->errors;
	free(d->file);
	free(d->source);
	d->file = strdup(path);
	d->source = strdup(text->data ? text->data : "");
	if (!d->file || !d->source)
		return -ENOMEM;
	int r = node_read(d->source, text->len, &root, d);
	if (r == 0 && root)
		r = schema_decode(&settings_schema, root, s, d);
	return r < 0 ? r : d->errors > errors ? -EINVAL : 0;
}

static int read_file(struct settings *s, const char *file, struct diag_list *d, struct err *err)
{
	OWN_BUF struct buf text = { 0 };
	OWN_FREE char *usual = place(s->root, "etc/teald.yaml", "/etc/teal/teald.yaml");
	const char *path = file ? file : usual;
	if (!path)
		return err_say(err, ENOMEM, "out of memory");
	int r = path_read(path, CFG_MAX_BYTES, &text, err);
	if (r == -ENOENT && !file)
		return 0;
	if (r == 0 && text.len > 0)
		r = read_keys(s, path, &text, d);
	if (r == -EINVAL)
		err_say(err, EINVAL, "%s is not valid", path);
	return r;
}

int settings_load(
	const char *root, const char *file, struct settings *ret, struct diag_list *d, struct err *err)
{
	struct settings s = { 0 };
	int r = set_places(&s, root);
	if (r < 0)
		err_say(err, ENOMEM, "out of memory");
	if (r == 0)
		r = read_file(&s, file, d, err);
	if (r == 0 && (r = set_defaults(&s)) < 0)
		err_say(err, ENOMEM, "out of memory");
	if (r == 0)
		*ret = s;
	else
		settings_done(&s);
	return r;
}

void settings_done(struct settings *s)
{
	schema_clear(&settings_schema, s);
	free(s->root);
	free(s->state_dir);
	free(s->run_dir);
	free(s->socket_path);
	free(s->libexec_dir);
	*s = (struct settings){ 0 };
}

char *settings_socket_path(const char *root)
{
	OWN_FREE char *absolute = root ? path_absolute(NULL, root) : NULL;
	if (root && !absolute)
		return NULL;
	return place(absolute, "run/teal.sock", "/run/teal/teal.sock");
}
