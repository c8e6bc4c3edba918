/* SPDX-License-Identifier: ISC */
/*
 * server/reload.c - another configuration for a running daemon
 *
 * Read in a worker, with all certificates; taken whole or not at all. Asked
 * for by SIGHUP, by ostlerctl, and by a certificate that has changed.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "queue/deliver/trust.h"
#include "queue/queue.h"
#include "queue/route/resolver.h"
#include "server/config.h"
#include "server/config_certificate.h"
#include "server/config_diff.h"
#include "server/daemon_internal.h"
#include "server/file_watch.h"
#include "server/listener.h"
#include "server/notify.h"
#include "server/smtpd.h"

#define RELOAD_CHANGES_SHOWN 50

struct reload {
	struct work_job job;
	struct daemon *daemon;
	char *file;

	struct config *old; /* shares: what it is compared with */
	struct config *config;
	struct smtpd_tls *tls;
	struct trust *trust; /* shares */
	bool was_made;
	struct buf errors, warnings, changes;
	size_t change_count;

	struct list waiters;
};

/* Somebody who asked for a reload and wants to hear how it went. */
struct reload_waiter {
	struct list link;
	void (*on_done)(void *arg, const char *errors);
	void *arg;
};

static void
on_change(void *arg, const char *name, const char *old_value,
	  const char *new_value)
{
	struct reload *reload = arg;

	if (++reload->change_count > RELOAD_CHANGES_SHOWN)
		return;
	(void)buf_addf(&reload->changes, "%s: %s -> %s\n", name,
		       old_value != NULL ? old_value : "(none)",
		       new_value != NULL ? new_value : "(none)");
}

static void
reload_run(struct work_job *job)
{
	struct reload *reload = container_of(job, struct reload, job);
	struct err err = ERR_INIT;
	int rc;

	rc = config_load(reload->file, &reload->config, &reload->errors,
			 &reload->warnings);
	if (rc < 0)
		return;
	rc = smtpd_tls_open(reload->config, &reload->tls, &reload->was_made,
			    &err);
	if (rc == 0 && reload->config->tls.ca != NULL)
		rc = trust_open(reload->config->tls.ca, &reload->trust, &err);
	if (rc < 0) {
		(void)buf_addf(&reload->errors, "%s: %s\n", reload->file,
			       err.text);
		config_unref(reload->config);
		reload->config = NULL;
		return;
	}
	config_diff_relay(reload->old, reload->config, on_change, reload);
	if (reload->change_count > RELOAD_CHANGES_SHOWN)
		(void)buf_addf(&reload->changes, "and %zu more\n",
			       reload->change_count - RELOAD_CHANGES_SHOWN);
}

static void
warn_fixed(const char *name)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARN, "reload");
	log_textf(&line, "reason",
		  "'%s' was changed; it takes effect at the next start", name);
	log_end(&line);
}

static bool
are_equal(char *const *a, char *const *b)
{
	while (a != NULL && *a != NULL && b != NULL && *b != NULL &&
	       strcmp(*a, *b) == 0) {
		a++;
		b++;
	}
	return (a == NULL || *a == NULL) && (b == NULL || *b == NULL);
}

/* What a running process cannot change; said, not silently ignored. */
static void
reload_warn_fixed(const struct config *old, const struct config *new)
{
	struct {
		const char *name, *old, *new;
	} fixed[] = {
		{"spool", old->spool, new->spool},
		{"control_socket", old->control_socket, new->control_socket},
		{"user", old->user, new->user},
		{"auth.database", old->auth.database, new->auth.database},
		{"auth.realm", old->auth.realm, new->auth.realm},
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (strcmp(fixed[i].old, fixed[i].new) != 0)
			warn_fixed(fixed[i].name);
	/* libsasl2 is told of them once */
	if (!are_equal(old->auth.options, new->auth.options))
		warn_fixed("auth.options");
}

static void
reload_take(struct reload *reload)
{
	struct daemon *daemon = reload->daemon;
	struct config *old = daemon->config;
	struct resolver_opts resolver_opts;
	struct queue_opts queue_opts;
	struct err err = ERR_INIT;
	struct log_line line;

	daemon->config = reload->config;
	reload->config = NULL;
	daemon_log_configure(daemon->config, daemon->is_verbose);
	reload_warn_fixed(old, daemon->config);
	if (listeners_configure(daemon->listeners, daemon->config, &err) < 0) {
		log_begin(&line, LOG_LEVEL_ERROR, "reload");
		log_text(&line, "reason", err.text);
		log_end(&line);
	}
	config_resolver_opts(daemon->config, &resolver_opts);
	if (resolver_configure(daemon->resolver, &resolver_opts, &err) < 0) {
		log_begin(&line, LOG_LEVEL_ERROR, "reload");
		log_text(&line, "reason", err.text);
		log_end(&line);
	}
	trust_unref(daemon->trust);
	daemon->trust = reload->trust;
	reload->trust = NULL;
	daemon_queue_opts(daemon, &queue_opts);
	queue_configure(daemon->queue, &queue_opts, daemon->config->policy);
	smtpd_configure(daemon->smtpd, daemon->config, reload->tls);
	reload->tls = NULL;
	/* who may send what has changed: to be seen, should it be a mistake */
	daemon_log_lines(&reload->changes, LOG_LEVEL_WARN, "change");
	config_unref(old);
	daemon_watch_files(daemon);

	daemon->reloads++;
	daemon->reloaded_ms = clock_wall_ms();
	log_begin(&line, LOG_LEVEL_INFO, "reload");
	log_text(&line, "config", reload->file);
	log_text(&line, "result", "taken");
	log_end(&line);
}

static void
reload_tell(struct reload *reload, const char *errors)
{
	for (;;) {
		struct list *node = list_pop(&reload->waiters);
		struct reload_waiter *waiter;

		if (node == NULL)
			return;
		waiter = container_of(node, struct reload_waiter, link);
		waiter->on_done(waiter->arg, errors);
		free(waiter);
	}
}

static void
reload_done(struct work_job *job)
{
	struct reload *reload = container_of(job, struct reload, job);
	struct daemon *daemon = reload->daemon;
	const char *errors = NULL;

	daemon->is_reloading = false;
	daemon_log_lines(&reload->warnings, LOG_LEVEL_WARN, "warning");
	free(daemon->reload_error);
	daemon->reload_error = NULL;
	if (reload->config != NULL && daemon->phase == DAEMON_RUNNING) {
		reload_take(reload);
	} else {
		struct log_line line;

		if (reload->config != NULL)
			(void)buf_adds(&reload->errors, "stopping\n");
		errors = buf_text(&reload->errors);
		daemon->reload_error = mem_strdup(errors);
		daemon_log_lines(&reload->errors, LOG_LEVEL_ERROR, "error");
		log_begin(&line, LOG_LEVEL_ERROR, "reload");
		log_text(&line, "config", reload->file);
		log_text(&line, "result", "kept the old configuration");
		log_end(&line);
	}
	notify_ready();
	reload_tell(reload, errors);
	if (daemon->reload_again) {
		daemon->reload_again = false;
		daemon_reload(daemon, NULL, NULL);
	}
}

static void
reload_free(struct work_job *job)
{
	struct reload *reload = container_of(job, struct reload, job);

	config_unref(reload->old);
	config_unref(reload->config);
	smtpd_tls_free(reload->tls);
	trust_unref(reload->trust);
	buf_done(&reload->changes);
	buf_done(&reload->errors);
	buf_done(&reload->warnings);
	free(reload->file);
	free(reload);
}

void
daemon_reload(struct daemon *daemon,
	      void (*on_done)(void *arg, const char *errors), void *arg)
{
	struct reload *reload;
	struct list *node;

	if (on_done != NULL) {
		struct reload_waiter *waiter = mem_zalloc(sizeof(*waiter));

		waiter->on_done = on_done;
		waiter->arg = arg;
		list_push(&daemon->reload_waiting, &waiter->link);
	}
	/* one at a time, so that an older file never wins; who asks during a
	 * reload gets one of his own, because the file may have changed */
	if (daemon->is_reloading) {
		daemon->reload_again = true;
		return;
	}
	notify_reloading();
	daemon->is_reloading = true;
	reload = mem_zalloc(sizeof(*reload));
	reload->daemon = daemon;
	reload->old = config_ref(daemon->config);
	reload->file = mem_strdup(daemon->config_file);
	buf_init(&reload->changes, DAEMON_ERRORS_MAX);
	list_init(&reload->waiters);
	for (node = list_pop(&daemon->reload_waiting); node != NULL;
	     node = list_pop(&daemon->reload_waiting))
		list_push(&reload->waiters, node);
	buf_init(&reload->errors, DAEMON_ERRORS_MAX);
	buf_init(&reload->warnings, DAEMON_ERRORS_MAX);
	reload->job.run = reload_run;
	reload->job.done = reload_done;
	reload->job.free_job = reload_free;
	work_start(daemon->loop, &reload->job, NULL);
}

/* -------------------------------------------------------- certificates */

static void
on_certificate_changed(void *owner, const char *path)
{
	struct daemon *daemon = owner;
	struct log_line line;

	if (daemon->phase != DAEMON_RUNNING)
		return;
	log_begin(&line, LOG_LEVEL_INFO, "reload");
	log_text(&line, "reason", "a certificate file has changed");
	log_text(&line, "file", path);
	log_end(&line);
	daemon_reload(daemon, NULL, NULL);
}

void
daemon_watch_files(struct daemon *daemon)
{
	const char **paths;
	size_t count = config_certificate_files(daemon->config, &paths);

	if (daemon->watch == NULL)
		daemon->watch = file_watch_new(daemon->loop,
					       on_certificate_changed, daemon);
	file_watch_set(daemon->watch, paths, count,
		       daemon->config->tls.watch_ms);
	free(paths);
}
