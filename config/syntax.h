/* The syntax of single values: each says what is wrong with a text ("must start with `/`"), or NULL. */
#pragma once

const char *syntax_name(const char *text);     /* a DNS label of at most 40 characters */
const char *syntax_path(const char *text);     /* an absolute path */
const char *syntax_user(const char *text);     /* "uid", "uid:gid", names instead of numbers */
const char *syntax_url_path(const char *text); /* what follows the host of a URL */
const char *syntax_host(const char *text);     /* a Host header */
const char *syntax_network(const char *text);  /* an IPv4 CIDR, from /8 to /28 */
const char *syntax_account(const char *text);  /* a user of this host: a name or a uid */
