/* SPDX-License-Identifier: ISC */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/net/dns_backend.h"
#include "lib/net/resolv_conf.h"

static const char *
shown(const struct dns_server *servers, size_t count)
{
	static char text[1000];
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		char ip[IP_TEXT_MAX];

		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%s%s %u", i == 0 ? "" : ", ",
					 ip_format(&servers[i].ip, ip),
					 servers[i].port);
	}
	return text;
}

static const struct {
	const char *text, *servers;
} files[] = {
	{"", "127.0.0.1 53"},
	{"search example.org\noptions timeout:1\n", "127.0.0.1 53"},
	{"nameserver 192.0.2.1\nnameserver\t2001:db8::1\n",
	 "192.0.2.1 53, 2001:db8::1 53"},
	{"  nameserver 192.0.2.1  \n#nameserver 192.0.2.2", "192.0.2.1 53"},
	{"nameserver [127.0.0.1]:5353\nnameserver [::1]:54",
	 "127.0.0.1 5353, ::1 54"},
	{"nameserver fe80::1%eth0\nnameserver x\nnameserver\nnameserver 1.2.3",
	 "127.0.0.1 53"},
	{"nameserver [127.0.0.1]:0\nnameserver [127.0.0.1]:70000",
	 "127.0.0.1 53"},
	{"nameserverless 192.0.2.1\n", "127.0.0.1 53"},
	{"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
	 "nameserver 192.0.2.4\n",
	 "192.0.2.1 53, 192.0.2.2 53, 192.0.2.3 53"},
};

START_TEST(nameserver_lines_are_read_and_others_ignored)
{
	struct dns_server servers[3];
	size_t count = resolv_conf_parse(files[_i].text, servers, 3);

	ck_assert_str_eq(shown(servers, count), files[_i].servers);
}
END_TEST

static uv_loop_t loop;
static char folder[] = "/tmp/ostler-resolv-XXXXXX";
static char path[64], other[64], heard[200];

static void
write_file(const char *to, const char *text)
{
	FILE *file = fopen(to, "w");

	ck_assert_ptr_nonnull(file);
	(void)fputs(text, file);
	(void)fclose(file);
}

static void
on_change(void *owner, const struct dns_server *servers, size_t count)
{
	(void)snprintf(heard, sizeof(heard), "%s", shown(servers, count));
	uv_stop(&loop);
}

static void
on_too_late(uv_timer_t *timer)
{
	ck_abort_msg("no change was noticed");
}

/* Until on_change stops it. */
static void
wait_change(void)
{
	uv_timer_t limit;

	(void)uv_timer_init(&loop, &limit);
	(void)uv_timer_start(&limit, on_too_late, 20000, 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&limit, NULL);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
}

START_TEST(a_file_that_is_replaced_or_linked_elsewhere_is_followed)
{
	struct dns_server servers[DNS_SERVERS_MAX];
	struct resolv_conf *conf;
	char target[80], sub[80];
	size_t count;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/resolv.conf", folder);
	(void)snprintf(other, sizeof(other), "%s/new", folder);
	(void)snprintf(sub, sizeof(sub), "%s/sub", folder);
	(void)snprintf(target, sizeof(target), "%s/sub/stub", folder);
	(void)uv_loop_init(&loop);
	write_file(path, "nameserver 192.0.2.1\n");
	conf = resolv_conf_open(&loop, path, on_change, NULL, servers, &count);
	ck_assert_str_eq(shown(servers, count), "192.0.2.1 53");
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0); /* holds no loop */

	write_file(other, "nameserver 192.0.2.2\n");
	ck_assert_int_eq(rename(other, path), 0);
	wait_change();
	ck_assert_str_eq(heard, "192.0.2.2 53");

	ck_assert_int_eq(mkdir(sub, 0700), 0);
	write_file(target, "nameserver 192.0.2.3\n");
	ck_assert_int_eq(symlink(target, other), 0);
	ck_assert_int_eq(rename(other, path), 0);
	wait_change();
	ck_assert_str_eq(heard, "192.0.2.3 53");

	/* now the link stays, and what it leads to changes */
	write_file(target, "nameserver 192.0.2.4\n");
	wait_change();
	ck_assert_str_eq(heard, "192.0.2.4 53");

	resolv_conf_close(conf);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	(void)unlink(path);
	(void)unlink(target);
	(void)rmdir(sub);
	(void)rmdir(folder);
}
END_TEST

static const struct {
	const char *servers[10], *error;
} lists[] = {
	{{"127.0.0.1:53", "[::1]:5353", NULL}, NULL},
	{{"127.0.0.1", NULL}, "DNS server '127.0.0.1' is not IP:PORT"},
	{{"dns.example:53", NULL},
	 "DNS server 'dns.example:53' is not IP:PORT"},
	{{"127.0.0.1:0", NULL}, "DNS server '127.0.0.1:0' is not IP:PORT"},
	{{"::1:53", NULL}, "DNS server '::1:53' is not IP:PORT"},
	{{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4",
	  "127.0.0.1:5", "127.0.0.1:6", "127.0.0.1:7", "127.0.0.1:8",
	  "127.0.0.1:9", NULL},
	 "more than 8 DNS servers"},
};

START_TEST(configured_servers_are_addresses_with_ports)
{
	struct dns_backend_opts opts = {
		.servers = lists[_i].servers,
		.timeout_ms = 1000,
	};
	struct dns_backend *backend = NULL;
	struct err err = ERR_INIT;
	int rc;

	(void)uv_loop_init(&loop);
	rc = dns_backend_new(&loop, &opts, &backend, &err);
	if (lists[_i].error == NULL) {
		size_t count;
		const struct dns_server *servers =
			backend->ops->servers(backend, &count);

		ck_assert_int_eq(rc, 0);
		ck_assert_str_eq(shown(servers, count),
				 "127.0.0.1 53, ::1 5353");
		backend->ops->close(backend);
	} else {
		ck_assert_int_lt(rc, 0);
		ck_assert_str_eq(err.text, lists[_i].error);
	}
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

UNIT_MAIN("resolv_conf",
	  tcase_add_loop_test(tc, nameserver_lines_are_read_and_others_ignored,
			      0, (int)COUNT(files));
	  tcase_add_test(
		  tc, a_file_that_is_replaced_or_linked_elsewhere_is_followed);
	  tcase_add_loop_test(tc, configured_servers_are_addresses_with_ports,
			      0, (int)COUNT(lists));)
