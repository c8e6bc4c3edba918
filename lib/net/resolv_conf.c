/* SPDX-License-Identifier: ISC */
#include "lib/net/resolv_conf.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/list.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "lib/work.h"

#define SETTLE_MS 100 /* one change comes as several events */
#define BYTES_MAX 65536

/* Reads the file in a worker. */
struct reread {
	struct work_job job;
	struct resolv_conf *conf;
	char *path;
	char *text; /* NULL: could not be read */
};

struct resolv_conf {
	uv_loop_t *loop;
	char *path;
	resolv_conf_fn *on_change;
	void *owner;
	uv_fs_event_t *watches[2]; /* its folder, and that of a link's target */
	uv_timer_t settle;
	struct reread *reread; /* NULL: none under way */
};

size_t
resolv_conf_parse(const char *text, struct dns_server *to, size_t max)
{
	static const struct dns_server self = {
		.ip = {.family = IP_V4, .bytes = {127, 0, 0, 1}},
		.port = 53,
	};
	struct str rest = str_of(text), line;
	size_t count = 0;

	while (count < max && str_cut(&rest, '\n', &line)) {
		struct dns_server server = {.port = 53};
		struct str word, host;

		line = str_trim(line);
		if (!str_starts_nocase(line, "nameserver") || line.len < 11 ||
		    (line.at[10] != ' ' && line.at[10] != '\t'))
			continue;
		word = str_trim(str_from(line.at + 10, line.len - 10));
		/* fe80::1%eth0 and the like are left out */
		if (ip_parse(word, &server.ip) ||
		    (word.len != 0 && word.at[0] == '[' &&
		     ip_split_port(word, &host, &server.port) &&
		     server.port != 0 && ip_parse(host, &server.ip)))
			to[count++] = server;
	}
	if (count == 0)
		to[count++] = self;
	return count;
}

static char *
file_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text;
	size_t len = 0;

	if (fd < 0)
		return NULL;
	text = mem_alloc(BYTES_MAX + 1);
	while (len < BYTES_MAX) {
		ssize_t got = read(fd, text + len, BYTES_MAX - len);

		if (got <= 0)
			break;
		len += (size_t)got;
	}
	(void)close(fd); /* nothing was written */
	text[len] = '\0';
	return text;
}

static void
reread_run(struct work_job *job)
{
	struct reread *reread = container_of(job, struct reread, job);

	reread->text = file_read(reread->path);
}

static void watches_set(struct resolv_conf *conf);

static void
reread_done(struct work_job *job)
{
	struct reread *reread = container_of(job, struct reread, job);
	struct resolv_conf *conf = reread->conf;
	struct dns_server servers[DNS_SERVERS_MAX];
	size_t count;

	conf->reread = NULL;
	if (reread->text == NULL)
		return;
	count = resolv_conf_parse(reread->text, servers, DNS_SERVERS_MAX);
	watches_set(conf); /* a link may lead elsewhere now */
	conf->on_change(conf->owner, servers, count);
}

static void
reread_free(struct work_job *job)
{
	struct reread *reread = container_of(job, struct reread, job);

	free(reread->path);
	free(reread->text);
	free(reread);
}

static void
on_settle(uv_timer_t *timer)
{
	struct resolv_conf *conf = timer->data;
	struct reread *reread;

	if (conf->reread != NULL) {
		(void)uv_timer_start(timer, on_settle, SETTLE_MS, 0);
		return;
	}
	reread = mem_zalloc(sizeof(*reread));
	reread->conf = conf;
	reread->path = mem_strdup(conf->path);
	reread->job.run = reread_run;
	reread->job.done = reread_done;
	reread->job.free_job = reread_free;
	conf->reread = reread;
	work_start(conf->loop, &reread->job, NULL);
}

static bool
is_base_name(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return strcmp(slash != NULL ? slash + 1 : path, name) == 0;
}

static void
on_folder(uv_fs_event_t *handle, const char *name, int events, int status)
{
	struct resolv_conf *conf = handle->data;

	/* much happens in /etc that is not meant; a link's target may have any
	 * name, and its folder is its own */
	if (handle == conf->watches[0] && name != NULL &&
	    !is_base_name(conf->path, name))
		return;
	(void)uv_timer_start(&conf->settle, on_settle, SETTLE_MS, 0);
}

static void
on_watch_closed(uv_handle_t *handle)
{
	free(handle);
}

static void
watch_close(struct resolv_conf *conf, size_t which)
{
	if (conf->watches[which] != NULL)
		uv_close((uv_handle_t *)conf->watches[which], on_watch_closed);
	conf->watches[which] = NULL;
}

static void
watch_open(struct resolv_conf *conf, size_t which, const char *path)
{
	uv_fs_event_t *watch = mem_zalloc(sizeof(*watch));
	char *copy = mem_strdup(path); /* dirname changes it */

	(void)uv_fs_event_init(conf->loop, watch); /* cannot fail on Linux */
	watch->data = conf;
	conf->watches[which] = watch;
	/* without a watch (no inotify left) a reload brings the news */
	if (uv_fs_event_start(watch, on_folder, dirname(copy), 0) < 0)
		watch_close(conf, which);
	else
		uv_unref((uv_handle_t *)watch);
	free(copy);
}

static void
watches_set(struct resolv_conf *conf)
{
	char *target = realpath(conf->path, NULL);

	watch_close(conf, 0);
	watch_close(conf, 1);
	watch_open(conf, 0, conf->path);
	if (target != NULL && strcmp(target, conf->path) != 0)
		watch_open(conf, 1, target);
	free(target);
}

struct resolv_conf *
resolv_conf_open(uv_loop_t *loop, const char *path, resolv_conf_fn *on_change,
		 void *owner, struct dns_server *to, size_t *out_count)
{
	struct resolv_conf *conf = mem_zalloc(sizeof(*conf));
	char *text;

	conf->loop = loop;
	conf->path = mem_strdup(path);
	conf->on_change = on_change;
	conf->owner = owner;
	(void)uv_timer_init(loop, &conf->settle); /* cannot fail */
	uv_unref((uv_handle_t *)&conf->settle);
	conf->settle.data = conf;
	/* watched first: no change falls between */
	watches_set(conf);
	text = file_read(path);
	*out_count = resolv_conf_parse(text != NULL ? text : "", to,
				       DNS_SERVERS_MAX);
	free(text);
	return conf;
}

static void
on_settle_closed(uv_handle_t *handle)
{
	struct resolv_conf *conf = handle->data;

	free(conf->path);
	free(conf);
}

void
resolv_conf_close(struct resolv_conf *conf)
{
	if (conf == NULL)
		return;
	if (conf->reread != NULL)
		work_detach(&conf->reread->job);
	watch_close(conf, 0);
	watch_close(conf, 1);
	uv_close((uv_handle_t *)&conf->settle, on_settle_closed);
}
