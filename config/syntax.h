/* The syntax of single values: each says what is wrong with a text ("must start with `/`"), or NULL. */
#pragma once

const char *syntax_name(const char *text);	/* a DNS label of at most 40 characters */
const char *syntax_path(const char *text);	/* an absolute path */
const char *syntax_user(const char *text);	/* "uid", "uid:gid", names instead of numbers */
const char *syntax_url_path(const char *text);	/* what follows the host of a URL */
const char *syntax_host(const char *text);	/* a Host header */
const char *syntax_network(const char *text);	/* an IPv4 CIDR, from /8 to /28 */
const char *syntax_account(const char *text);	/* a user of this host: a name or a uid */
const char *syntax_hostname(const char *text);	/* labels, separated by dots */
const char *syntax_ip(const char *text);	/* a numeric address, IPv4 or IPv6 */
const char *syntax_file_name(const char *text); /* one part of a path */
const char *syntax_digest(const char *text);
const char *syntax_device(const char *text); /* /dev/… */
const char *syntax_volume_source(const char *text);
const char *syntax_volume_target(const char *text);
