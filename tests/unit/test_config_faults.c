/* Every fault there is to tell of, and the very words it is told in: "line:column+length: text", then the
 * hint. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/own.h"
#include "config/config.h"

#define IMAGE_KINDS_HINT                                                                                     \
	"rootfs:DIR, oci:DIR, oci-archive:FILE, docker-archive:FILE, or an image of a registry"
#define M "name: web\nimage: rootfs:/x\ncommand: run\n"

static const struct {
	const char *text, *faults;
} cases[] = {
	{ "", "1:1+1: the file is empty\n" },
	{ "# only a comment\n", "1:1+1: the file is empty\n" },
	{ "just text\n", "1:1+9: the file must be a map of keys\n"
			 "  hint: one `key: value` a line\n" },
	{ "[a, b]\n", "1:1+1: the file must be a map of keys\n"
		      "  hint: one `key: value` a line\n" },
	{ "---\n...\n", "2:1+1: the file must be a map of keys\n"
			"  hint: one `key: value` a line\n" },
	{ "name: web\nname: web2\nimage: rootfs:/x\ncommand: run\n", "2:1+4: duplicate key `name`\n"
								     "  hint: it is already on line 1\n" },
	{ M "---\nname: b\n", "4:1+1: a second document starts here\n"
			      "  hint: one file describes one service\n" },
	{ "name: web\n\timage: x\n",
		"2:1+1: YAML: found a tab character that violates indentation while scanning a plain scalar\n"
		"  hint: YAML is indented by spaces, never by tabs\n" },
	{ "name: web\nimage: 'rootfs:/x\n",
		"2:8+1: YAML: found unexpected end of stream while scanning a quoted scalar\n"
		"  hint: the quote is not closed\n" },
	{ "name: web\nimage: rootfs: /x\n",
		"2:14+1: YAML: mapping values are not allowed in this context\n"
		"  hint: is this line indented too far, or does a value with `: ` in it lack its quotes?\n" },
	{ "name: web\nimage rootfs:/x\ncommand: run\n",
		"2:1+1: YAML: could not find expected ':' while scanning a simple key\n"
		"  hint: `key: value` needs the colon, and a space after it\n" },
	{ "name: web\nports: [80:80\nimage: x\n",
		"2:8+1: YAML: did not find expected ',' or ']' while parsing a flow sequence\n"
		"  hint: this `[` is not closed, or a comma is missing\n" },
	{ "name: @web\n",
		"1:7+1: YAML: found character that cannot start any token while scanning for the next token\n"
		"  hint: text that starts with this character needs quotes\n" },
	{ M "? [a]\n: b\n", "4:3+1: a key must be plain text\n" },
	{ "name: \377", "1:7+1: byte \\xff is not allowed here\n"
			"  hint: a spec is UTF-8 text\n" },
	{ "name: web\342\200\250image: x\n", "1:10+1: character \\u2028 is not allowed here\n" },
	{ "name: a\001b\n", "1:8+1: character \\x01 is not allowed here\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: [run, \"\\x00\"]\n",
		"3:16+6: character \\x00 is not allowed here\n"
		"  hint: an escape in this text stands for it\n" },
	{ M "cap_add: [NET_ADMN]\n", "4:11+8: `cap_add`: `NET_ADMN` is not one of the names that there are\n"
				     "  hint: did you mean `NET_ADMIN`?\n" },
	{ M "cap_drop: [CHOWN, cap_chwn]\n",
		"4:19+8: `cap_drop`: `cap_chwn` is not one of the names that there are\n"
		"  hint: did you mean `CHOWN`?\n" },
	{ M "cap_add: NET_ADMIN\n", "4:10+9: `cap_add` must be a list of names, not text\n"
				    "  hint: cap_add: [NET_RAW]\n" },
	{ M "seccomp: unconfind\n",
		"4:10+9: `seccomp`: open /srv/absent/unconfind: No such file or directory\n"
		"  hint: did you mean `unconfined`?\n" },
	{ M "seccomp: '{}'\n", "4:10+4: `seccomp`: the profile has no `defaultAction`\n"
			      "  hint: the form is that of the OCI's linux.seccomp\n" },
	{ M "seccomp: '{'\n", "4:10+3: `seccomp`: the profile is malformed: seccomp:1:1: string or '}' expected near "
			     "end of file\n" },
	{ "name: web\n", "1:1+1: `image` is missing\n"
			 "  hint: image: rootfs:/srv/web\n" },
	{ "image: rootfs:/x\ncommand: run\n", "1:1+1: `name` is missing\n"
					      "  hint: name: web\n" },
	{ "name:\nimage: rootfs:/x\ncommand: run\n", "1:1+4: `name` has no value\n"
						     "  hint: give it one, or remove the line\n" },
	{ "name: ''\nimage: rootfs:/x\ncommand: run\n", "1:7+2: `name` is empty\n" },
	{ "name: My_App\nimage: rootfs:/x\ncommand: run\n",
		"1:7+6: `name`: `My_App` may only hold a-z, 0-9 and `-`\n"
		"  hint: did you mean `my-app`?\n" },
	{ "name: -web\nimage: rootfs:/x\ncommand: run\n",
		"1:7+4: `name`: `-web` must start and end with a letter or digit\n"
		"  hint: did you mean `web`?\n" },
	{ "name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nimage: rootfs:/x\ncommand: run\n",
		"1:7+41: `name`: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is too long: at most 40 "
		"characters\n" },
	{ "name: [web]\nimage: rootfs:/x\ncommand: run\n", "1:7+1: `name` must be text, not a list\n"
							   "  hint: name: web\n" },
	{ "name: web\nimage: registry.example.com:5000/shop/web@sha256:abc\n",
		"2:8+45: `image`: `sha256:abc` is not a digest (sha256: and 64 hex digits)\n"
		"  hint: " IMAGE_KINDS_HINT "\n" },
	{ "name: web\nimage: Nginx\n",
		"2:8+5: `image`: `Nginx` is not a name of an image (lower case letters, digits, and . _ - "
		"between)\n"
		"  hint: " IMAGE_KINDS_HINT "\n" },
	{ "name: web\nimage: 'oci-archive:'\n", "2:8+14: `image`: the file is missing\n"
						"  hint: " IMAGE_KINDS_HINT "\n" },
	{ "name: web\nimage: ./dir\ncommand: run\n", "2:8+5: `image`: `./dir` is not an image\n"
						     "  hint: did you mean `rootfs:./dir`?\n" },
	{ "name: web\nimage: 'a b'\ncommand: run\n", "2:8+5: `image`: `a b` is not a name of an image (lower "
						     "case letters, digits, and . _ - between)\n"
						     "  hint: " IMAGE_KINDS_HINT "\n" },
	{ "name: web\nimage: 'rootfs:'\ncommand: run\n", "2:8+9: `image`: the directory is missing\n"
							 "  hint: " IMAGE_KINDS_HINT "\n" },
	{ "name: web\nimage: rootfs:/x\n", "2:8+9: `command` is missing: a directory has none of its own\n"
					   "  hint: command: [\"/app/server\"]\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: []\n",
		"2:8+9: `command` is missing: a directory has none of its own\n"
		"  hint: command: [\"/app/server\"]\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: [\"\"]\n", "3:10+1: the program's name is empty\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: run 'x\n",
		"3:10+6: `command`: `run 'x` ends within a quote\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: { a: b }\n",
		"3:10+1: `command` must be a list of arguments or one line of text, not a map\n"
		"  hint: command: [\"/app/server\", \"--port\", \"3000\"]\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: [run, [x], ]\n",
		"3:16+1: `command`: an argument must be text\n"
		"  hint: \"\" is the empty one\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: [run, null]\n",
		"3:16+4: `command`: an argument must be text\n"
		"  hint: \"\" is the empty one\n" },
	{ "name: web\nimage: rootfs:/x\ncommand: cd / && run\n",
		"3:10+11: warning: `command`: `&&` is passed to the program as it is\n"
		"  hint: to run a shell: [\"/bin/sh\", \"-c\", \"...\"]\n" },
	{ M "prots: ['80:80']\n", "4:1+5: unknown key `prots`\n"
				  "  hint: did you mean `ports`?\n" },
	{ M "intervall: 1s\n", "4:1+9: unknown key `intervall`\n"
			       "  hint: did you mean `healthcheck.interval`?\n" },
	{ M "interval: 1s\n", "4:1+8: unknown key `interval`\n"
			      "  hint: `interval` belongs under `healthcheck`\n" },
	{ M "replicas: 2\n", "4:1+8: unknown key `replicas`\n"
			     "  hint: `replicas` belongs under `deploy`\n" },
	{ M "zzzzzz: 1\n", "4:1+6: unknown key `zzzzzz`\n" },
	{ M "<<: {a: b}\n", "4:1+2: merge keys are not supported\n"
			    "  hint: write the keys out here\n" },
	{ M "user:\n", "4:1+4: `user` has no value\n"
		       "  hint: give it one, or remove the line\n" },
	{ M "services: { web: {} }\n",
		"4:1+8: `services` is not a key of teal\n"
		"  hint: one file describes one service: put its keys at the top level, with a `name`\n" },
	{ M "containers: {}\n", "4:1+10: `containers` is not supported by this version of teal\n" },
	{ M "deploy: { canary: [] }\n",
		"4:11+6: `deploy.canary` is not supported by this version of teal\n" },
	{ M "build: .\n", "4:1+5: `build` is not a key of teal\n"
			  "  hint: teal runs images and builds none\n" },
	{ M "environment: x\n", "4:14+1: `environment` must be a map, or a list of KEY=VALUE, not text\n"
				"  hint: environment: { LOG_LEVEL: info }\n" },
	{ M "environment: { A: }\n", "4:16+1: `environment`: `A` has no value\n"
				     "  hint: nothing is taken from elsewhere; an empty value is \"\"\n" },
	{ M "environment: { A: ~ }\n", "4:16+1: `environment`: `A` has no value\n"
				       "  hint: nothing is taken from elsewhere; an empty value is \"\"\n" },
	{ M "environment: [A]\n", "4:15+1: `environment`: `A` has no value\n"
				  "  hint: nothing is taken from elsewhere; write KEY=VALUE\n" },
	{ M "environment: [A=1, A=2]\n", "4:20+3: `environment`: `A` is there twice\n" },
	{ M "environment: [[A]]\n", "4:15+1: `environment`: an item of the list must be KEY=VALUE\n" },
	{ M "environment: { A: [1] }\n", "4:19+1: `environment`: the value of `A` must be text\n" },
	{ M "environment: { 'A B': 1 }\n",
		"4:16+5: `environment`: the name `A B` has a blank, a control character or `=` in it\n" },
	{ M "environment: [=x]\n", "4:15+2: `environment`: the name `` is empty\n" },
	{ M "environment: { A: \"${HOME}/x\" }\n",
		"4:19+11: warning: `environment`: `${...}` is not replaced: it is passed on as it is\n" },
	{ M "environment: { A: \"$${HOME}\" }\n", "" },
	{ M "labels: 3\n", "4:9+1: `labels` must be a map, or a list of KEY=VALUE, not text\n"
			   "  hint: labels: { team: shop }\n" },
	{ M "working_dir: app\n", "4:14+3: `working_dir`: `app` is not an absolute path\n" },
	{ M "user: 'a:b:c'\n", "4:7+7: `user`: `a:b:c` is not a user: uid, uid:gid, name or name:group\n" },
	{ M "user: ''\n", "4:7+2: `user` is empty\n" },
	{ M "ports: 8080\n", "4:8+4: `ports` must be a list, not text\n"
			     "  hint: ports: [\"8080:3000\"]\n" },
	{ M "ports: [8080]\n",
		"4:9+4: `ports`: `8080` names one port, where two are needed\n"
		"  hint: \"8080:3000\", \"127.0.0.1:8080:3000\" or \"[::1]:8080:3000\": published:target\n" },
	{ M "ports: ['8080:3000/udp']\n",
		"4:9+15: `ports`: `8080:3000/udp` is not a TCP port, and nothing else is supported\n" },
	{ M "ports: ['localhost:8080:3000']\n",
		"4:9+21: `ports`: `localhost:8080:3000` is not a pair of ports\n"
		"  hint: \"8080:3000\", \"127.0.0.1:8080:3000\" or \"[::1]:8080:3000\": published:target\n" },
	{ M "ports: ['8080:99999']\n",
		"4:9+12: `ports`: `8080:99999` is not a pair of ports\n"
		"  hint: \"8080:3000\", \"127.0.0.1:8080:3000\" or \"[::1]:8080:3000\": published:target\n" },
	{ M "ports: ['8080:3000', '8080:4000']\n",
		"4:22+11: `ports`: 0.0.0.0:8080 is taken by item 1 (0.0.0.0:8080)\n" },
	{ M "ports: ['127.0.0.1:80:1', '127.0.0.2:80:2', '[::1]:80:3', '127.0.0.1:80:4', '[::1]:80:5']\n",
		"4:59+16: `ports`: 127.0.0.1:80 is taken by item 1 (127.0.0.1:80)\n"
		"4:77+12: `ports`: [::1]:80 is taken by item 3 ([::1]:80)\n" },
	{ M "ports: ['[::]:80:1', '80:2', '[::1]:80:3']\n",
		"4:30+12: `ports`: [::1]:80 is taken by item 1 ([::]:80)\n" },
	{ M "ports: ['127.0.0.1:8080:1', '8080:2']\n",
		"4:29+8: `ports`: 0.0.0.0:8080 is taken by item 1 (127.0.0.1:8080)\n" },
	{ M "ports: [[a]]\n", "4:9+1: an item of `ports` must be a map\n" },
	{ M "ports: [{ target: 3000 }]\n", "4:9+1: `ports[].published` is missing\n"
					   "  hint: published: \"0.0.0.0:8080\"\n" },
	{ M "ports: [{ target: '3000', published: 1 }]\n",
		"4:19+6: `ports[].target`: `3000` is text, not a number\n"
		"  hint: remove the quotes\n" },
	{ M "ports: [{ target: 0, published: 1 }]\n",
		"4:19+1: `ports[].target`: `0` is out of range: 1 to 65535\n" },
	{ M "ports: [{ target: 1, published: 'web:80' }]\n",
		"4:33+8: `ports[].published`: `web:80` is not an address with a port\n"
		"  hint: a numeric address: 8080, 127.0.0.1:8080 or \"[::1]:8080\"\n" },
	{ M "ports: [{ target: 1, published: 1, protocol: http }]\n",
		"4:46+4: `ports[].protocol`: `http` is not supported by this version of teal\n"
		"  hint: with `tcp` HTTP goes through as it is\n" },
	{ M "ports: [{ target: 1, published: 1, protocol: TCP }]\n",
		"4:46+3: `ports[].protocol`: `TCP` is not one of tcp\n"
		"  hint: did you mean `tcp`?\n" },
	{ M "ports: [{ target: 1, published: 1, name: a }, { target: 2, published: 2, name: a }]\n",
		"4:80+1: `ports`: items 1 and 2 are both named `a`\n"
		"  hint: give one of them another `name`\n" },
	{ M "ports: [{ target: 1, published: 1, host_ip: 1.2.3.4 }]\n",
		"4:36+7: `ports[].host_ip` is not a key of teal\n"
		"  hint: write it before the port: published: \"127.0.0.1:8080\"\n" },
	{ M "ports: ['1:1', '2:1', '3:1', '4:1', '5:1', '6:1', '7:1', '8:1', '9:1', '10:1', '11:1', '12:1', "
	    "'13:1', '14:1', '15:1', '16:1', '17:1', '18:1', '19:1', '20:1', '21:1', '22:1', '23:1', '24:1', "
	    "'25:1', '26:1', '27:1', '28:1', '29:1', '30:1', '31:1', '32:1', '33:1']\n",
		"4:8+1: `ports` has 33 items: at most 32\n" },
	{ M "healthcheck: {}\n", "4:1+11: `healthcheck` needs one of `http`, `tcp`, `exec`\n" },
	{ M "healthcheck: { interval: 1s }\n", "4:1+11: `healthcheck` needs one of `http`, `tcp`, `exec`\n" },
	{ M "healthcheck: { http: /, tcp: 80 }\n",
		"4:22+1: `healthcheck` does not say which port to probe, and there are no `ports` to choose "
		"from\n"
		"  hint: give it a `port`\n"
		"4:25+3: `healthcheck.tcp` is one kind too many: there is another already\n"
		"  hint: keep one of them\n" },
	{ M "healthcheck: { http: / }\n", "4:22+1: `healthcheck` does not say which port to probe, and there "
					  "are no `ports` to choose from\n"
					  "  hint: give it a `port`\n" },
	{ M "healthcheck: { tcp: {} }\n", "4:21+1: `healthcheck` does not say which port to probe, and there "
					  "are no `ports` to choose from\n"
					  "  hint: give it a `port`\n" },
	{ M "healthcheck: { http: { path: x, port: 1 } }\n",
		"4:30+1: `healthcheck.http.path`: `x` must start with `/`\n" },
	{ M "healthcheck: { http: { path: '/a b', port: 1 } }\n",
		"4:30+6: `healthcheck.http.path`: `/a b` has a blank or control character in it\n" },
	{ M "healthcheck: { http: { status: 99, port: 1 } }\n",
		"4:32+2: `healthcheck.http.status`: `99` is not an HTTP status or a range of them\n"
		"  hint: 200, or 200-299\n" },
	{ M "healthcheck: { http: { status: 299-200, port: 1 } }\n",
		"4:32+7: `healthcheck.http.status`: `299-200` is not an HTTP status or a range of them\n"
		"  hint: 200, or 200-299\n" },
	{ M "healthcheck: { http: { host: 'a/b', port: 1 } }\n",
		"4:30+5: `healthcheck.http.host`: `a/b` is not a host name\n" },
	{ M "healthcheck: { exec: [] }\n", "4:22+1: `healthcheck.exec.command` is empty\n" },
	{ M "healthcheck: { exec: {} }\n", "4:16+4: `healthcheck.exec.command` is missing\n"
					   "  hint: command: [\"/app/check\"]\n" },
	{ M "healthcheck: { exec: '' }\n", "4:22+2: `healthcheck.exec.command` is empty\n" },
	{ M "healthcheck: { grpc: 80 }\n",
		"4:16+4: `healthcheck.grpc` is not supported by this version of teal\n" },
	{ M "healthcheck: { test: [CMD, x] }\n",
		"4:16+4: `healthcheck.test` is not a key of teal\n"
		"  hint: teal calls it `exec`: exec: { command: [\"/app/check\"] }\n" },
	{ M "healthcheck: { tcp: 80, interval: 5 }\n",
		"4:35+1: `healthcheck.interval`: `5` is not a duration\n"
		"  hint: numbers with their units: 500ms, 2s, 1m30s, 1h\n" },
	{ M "healthcheck: { tcp: 80, interval: 1 s }\n",
		"4:35+3: `healthcheck.interval`: `1 s` is not a duration\n"
		"  hint: numbers with their units: 500ms, 2s, 1m30s, 1h\n" },
	{ M "healthcheck: { tcp: 80, interval: 1ms }\n",
		"4:35+3: `healthcheck.interval`: `1ms` is out of range: 10ms to 1h\n" },
	{ M "healthcheck: { tcp: 80, timeout: [1s] }\n",
		"4:34+1: `healthcheck.timeout` must be a duration, not a list\n" },
	{ M "healthcheck: { tcp: 80, retries: '3' }\n",
		"4:34+3: `healthcheck.retries`: `3` is text, not a number\n"
		"  hint: remove the quotes\n" },
	{ M "healthcheck: { tcp: 80, retries: -1 }\n",
		"4:34+2: `healthcheck.retries`: `-1` is not a number\n" },
	{ M "healthcheck: { tcp: 80, retries: 1.5 }\n",
		"4:34+3: `healthcheck.retries`: `1.5` is not a number\n" },
	{ M "healthcheck: { tcp: 80, successes: 0 }\n",
		"4:36+1: `healthcheck.successes`: `0` is out of range: 1 to 1000\n" },
	{ M "healthcheck: { tcp: 80, start_period: 2m }\n", "4:39+2: warning: `healthcheck.start_period`: 2m "
							    "is not shorter than the healthy_deadline of 2m\n"
							    "  hint: raise `deploy.healthy_deadline`\n" },
	{ M "healthcheck: { tcp: eighty }\n", "4:21+6: `healthcheck.tcp.port`: `eighty` is not a port\n"
					      "  hint: a number from 1 to 65535\n" },
	{ M "healthcheck: yes\n", "4:14+3: `healthcheck` must be a map, not text\n"
				  "  hint: healthcheck: { http: /healthz }\n" },
	{ M "restart: unless-stopped\n",
		"4:10+14: `restart`: `unless-stopped` is not one of on-failure, always, no\n"
		"  hint: write `always`\n" },
	{ M "restart: on-failure:3\n",
		"4:10+12: `restart`: `on-failure:3` is not one of on-failure, always, no\n"
		"  hint: did you mean `on-failure`?\n" },
	{ M "restart: allways\n", "4:10+7: `restart`: `allways` is not one of on-failure, always, no\n"
				  "  hint: did you mean `always`?\n" },
	{ M "stop_signal: SIGFOO\n", "4:14+6: `stop_signal`: `SIGFOO` is not a signal\n"
				     "  hint: a name or a number: SIGTERM, SIGQUIT, 10\n" },
	{ M "stop_signal: 99\n", "4:14+2: `stop_signal`: `99` is not a signal\n"
				 "  hint: a name or a number: SIGTERM, SIGQUIT, 10\n" },
	{ M "stop_grace_period: 2h\n", "4:20+2: `stop_grace_period`: `2h` is out of range: 0s to 1h\n" },
	{ M "read_only: yes\n", "4:12+3: `read_only`: `yes` is neither true nor false\n"
				"  hint: write `true`\n" },
	{ M "read_only: 'true'\n", "4:12+6: `read_only`: `true` is neither true nor false\n"
				   "  hint: remove the quotes\n" },
	{ M "read_only: 1\n", "4:12+1: `read_only`: `1` is neither true nor false\n" },
	{ M "network: bridge\n", "4:10+6: `network`: `bridge` is not one of private, host, none\n"
				 "  hint: `private` is an address behind a bridge\n" },
	{ M "network: hots\n", "4:10+4: `network`: `hots` is not one of private, host, none\n"
			       "  hint: did you mean `host`?\n" },
	{ M "network: none\nports: ['1:1']\n", "5:8+1: `ports` can't be reached with `network: none`\n" },
	{ M "network: none\nhealthcheck: { http: { port: 1 } }\n",
		"5:30+1: `healthcheck` can't reach the container with `network: none`\n"
		"  hint: `exec` needs no network\n" },
	{ M "network: host\nports: ['1:1']\nhealthcheck: { tcp: 2 }\n",
		"6:21+1: `healthcheck`: port 2 is not the target of any of `ports`\n"
		"  hint: with `network: host` teal knows where a target listens, and nothing else\n" },
	{ M "network: host\nenvironment: { PORT: 80 }\n",
		"5:22+2: warning: `environment`: with `network: host` teal sets PORT itself\n" },
	{ M "logging: { driver: json-file }\n", "4:12+6: `logging.driver` is not a key of teal\n"
						"  hint: teal keeps the output itself: see `teal logs`\n" },
	{ M "logging: { max_size: 1Mi }\n", "4:22+3: `logging.max_size`: `1Mi` is not a size\n"
					    "  hint: bytes, or a number with k, m or g: 512k, 256M, 1G\n" },
	{ M "logging: { max_size: 1k }\n", "4:22+2: `logging.max_size`: `1k` is out of range: 4K to 10G\n" },
	{ M "logging: { max_files: 101 }\n",
		"4:23+3: `logging.max_files`: `101` is out of range: 1 to 100\n" },
	{ M "logging: 10M\n", "4:10+3: `logging` must be a map, not text\n"
			      "  hint: logging: { max_size: 10M, max_files: 3 }\n" },
	{ M "deploy: { replicas: 0 }\n", "4:21+1: `deploy.replicas`: `0` is out of range: 1 to 100\n" },
	{ M "deploy: { order: start_first }\n",
		"4:18+11: `deploy.order`: `start_first` is not one of start-first, stop-first\n"
		"  hint: did you mean `start-first`?\n" },
	{ M "deploy: { min_healthy_time: 2m }\n",
		"4:29+2: `deploy.min_healthy_time`: 2m can't pass within the healthy_deadline of 2m\n"
		"  hint: raise `deploy.healthy_deadline`\n" },
	{ M "deploy: { healthy_deadline: 0 }\n",
		"4:29+1: `deploy.healthy_deadline`: `0` is out of range: 100ms to 24h\n" },
	{ M "deploy: { standby: 31 }\n", "4:20+2: `deploy.standby`: `31` is not a duration\n"
					 "  hint: numbers with their units: 500ms, 2s, 1m30s, 1h\n" },
	{ M "deploy: { history: many }\n", "4:20+4: `deploy.history`: `many` is not a number\n" },
	{ M "deploy: { resources: { limits: { cpus: 0 } } }\n",
		"4:40+1: `deploy.resources.limits.cpus`: `0` is out of range: 0.01 to 1024.0\n" },
	{ M "deploy: { resources: { limits: { cpus: '1.2345' } } }\n",
		"4:40+8: `deploy.resources.limits.cpus`: `1.2345` is not a number of CPUs\n"
		"  hint: at most three decimals: \"0.5\", \"2\"\n" },
	{ M "deploy: { resources: { limits: { memory: 99999999999999999999 } } }\n",
		"4:42+20: `deploy.resources.limits.memory`: `99999999999999999999` is out of range: 1M to "
		"16384G\n" },
	{ M "deploy: { resources: { limits: { pids: 1k } } }\n",
		"4:40+2: `deploy.resources.limits.pids`: `1k` is not a number\n" },
	{ M "deploy: { update_config: {} }\n",
		"4:11+13: `deploy.update_config` is not a key of teal\n"
		"  hint: teal has `order` and `healthy_deadline` directly below `deploy`\n" },
	{ M "deploy: null\n", "" },
	{ M "deploy:\n", "4:1+6: `deploy` has no value\n"
			 "  hint: give it one, or remove the line\n" },
	{ M "env_file: x.env\n", "4:11+5: `env_file`: open /srv/absent/x.env: No such file or directory\n"
				 "  hint: paths are relative to the spec's file\n" },
	{ M "env_file: [a: b]\n", "4:12+1: `env_file`: an item of the list must be a path\n" },
	{ M "env_file: ''\n", "4:11+2: `env_file` is empty\n" },
};

static char *read_faults(const char *text)
{
	struct diag_list d = { 0 };
	struct buf out = { 0 };
	OWN_SPEC struct spec *s = NULL;
	int r = cfg_read(text, strlen(text), "spec.yaml", "/srv/absent", &s, &d);
	assert_int_equal(r, d.errors ? -EINVAL : 0);
	for (size_t i = 0; i < d.n; i++) {
		const struct diag *item = &d.items[i];
		buf_addf(&out, "%u:%u+%u: %s%s\n", item->line, item->column, item->length,
			item->level == DIAG_WARNING ? "warning: " : "", item->text);
		if (item->hint)
			buf_addf(&out, "  hint: %s\n", item->hint);
	}
	diag_done(&d);
	return buf_take(&out);
}

static void test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		OWN_FREE char *faults = read_faults(cases[i].text);
		if (strcmp(faults, cases[i].faults) != 0)
			fail_msg("for\n%s\ngot\n%s\ninstead of\n%s", cases[i].text, faults, cases[i].faults);
	}
}

/* One run tells of all of them, in the order of the file. */
static void test_all_at_once(void **state)
{
	(void)state;
	OWN_FREE char *faults = read_faults("nam: web\n"
					    "image: Nginx\n"
					    "ports: [1:1, 1:2]\n"
					    "healthcheck: { tcp: 1, intervall: 1s }\n"
					    "deploy: { replicas: none }\n");
	assert_string_equal(faults,
		"1:1+3: unknown key `nam`\n"
		"  hint: did you mean `name`?\n"
		"1:1+1: `name` is missing\n"
		"  hint: name: web\n"
		"2:8+5: `image`: `Nginx` is not a name of an image (lower case letters, digits, and . _ - "
		"between)\n"
		"  hint: " IMAGE_KINDS_HINT "\n"
		"3:14+3: `ports`: 0.0.0.0:1 is taken by item 1 (0.0.0.0:1)\n"
		"4:24+9: unknown key `intervall` in `healthcheck`\n"
		"  hint: did you mean `interval`?\n"
		"5:21+4: `deploy.replicas`: `none` is not a number\n");
}

static void check_many(const char *part, size_t times, const char *text)
{
	struct diag_list d = { 0 };
	OWN_BUF struct buf yaml = { 0 };
	OWN_SPEC struct spec *s = NULL;
	for (size_t i = 0; i < times; i++)
		buf_addf(&yaml, "%s", part);
	assert_int_equal(cfg_read(yaml.data, yaml.len, "spec.yaml", NULL, &s, &d), -EINVAL);
	assert_string_equal(d.items[0].text, text);
	diag_done(&d);
}

static void test_caps(void **state)
{
	(void)state;
	check_many("# 789 123456789\n", CFG_MAX_BYTES / 16 + 1, "the file is too big: at most 262144 bytes");
	check_many("[", 33, "more than 32 levels of nesting");
	check_many("- x\n", 10000, "more than 10000 values");
}

/* What an agent gets must not name files of its host. */
static void test_agent_reads_no_files(void **state)
{
	static const char *const texts[] = { M "env_file: /etc/passwd\n", M "env_file: x.env\n",
		"name: web\nimage: rootfs:x\ncommand: run\n" };
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct diag_list d = { 0 };
		OWN_SPEC struct spec *s = NULL;
		assert_int_equal(cfg_read(texts[i], strlen(texts[i]), "spec", NULL, &s, &d), -EINVAL);
		assert_int_equal(d.errors, 1);
		diag_done(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_agent_reads_no_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
