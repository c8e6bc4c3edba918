/* SPDX-License-Identifier: ISC */
#include "server/daemon_internal.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/auth_server.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/work.h"
#include "queue/deliver/trust.h"
#include "queue/queue.h"
#include "queue/route/resolver.h"
#include "server/admin.h"
#include "server/config.h"
#include "server/control.h"
#include "server/file_watch.h"
#include "server/listener.h"
#include "server/notify.h"
#include "server/place.h"
#include "server/smtpd.h"
#include "server/version.h"

/* -------------------------------------------------------- configuration */

/* Prints the lines and says whether there were any. */
static bool
daemon_print(struct buf *lines, const char *prefix)
{
	struct str rest = str_of(buf_text(lines)), line;
	bool has_any = false;

	while (str_cut(&rest, '\n', &line)) {
		if (line.len == 0)
			continue;
		(void)fprintf(stderr, "%s%.*s\n", prefix, STR_ARG(line));
		has_any = true;
	}
	return has_any;
}

void
daemon_log_lines(struct buf *lines, enum log_level level, const char *what)
{
	struct str rest = str_of(buf_text(lines)), text;

	while (str_cut(&rest, '\n', &text)) {
		struct log_line line;

		if (text.len == 0)
			continue;
		log_begin(&line, level, "config");
		log_str(&line, what, text);
		log_end(&line);
	}
}

/* What is missing would keep the daemon from starting. Rights are not asked
 * after: the daemon reads these files as another user. */
static void
daemon_check_file(const char *path)
{
	if (path == NULL || access(path, F_OK) == 0 ||
	    (errno != ENOENT && errno != ENOTDIR))
		return;
	(void)fprintf(stderr, "warning: '%s': %s: ostlerd cannot start\n", path,
		      strerror(errno));
}

static void
daemon_check_files(const struct config *config)
{
	daemon_check_file(config->tls.certificate);
	daemon_check_file(config->tls.key);
	daemon_check_file(config->tls.second_certificate);
	daemon_check_file(config->tls.second_key);
	daemon_check_file(config->tls.ca);
	daemon_check_file(config->tls.client_ca);
	daemon_check_file(config->tls.client_crl);
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *one = &config->listeners[i];

		daemon_check_file(one->certificate);
		daemon_check_file(one->key);
		daemon_check_file(one->second_certificate);
		daemon_check_file(one->second_key);
	}
	for (size_t i = 0; i < config->certificate_count; i++) {
		const struct certificate_config *one = &config->certificates[i];

		daemon_check_file(one->certificate);
		daemon_check_file(one->key);
		daemon_check_file(one->second_certificate);
		daemon_check_file(one->second_key);
	}
}

int
daemon_check(const char *config_file)
{
	struct config *config = NULL;
	struct buf errors, warnings;
	int rc;

	buf_init(&errors, DAEMON_ERRORS_MAX);
	buf_init(&warnings, DAEMON_ERRORS_MAX);
	rc = config_load(config_file, &config, &errors, &warnings);
	(void)daemon_print(&errors, "");
	(void)daemon_print(&warnings, "warning: ");
	if (rc == 0) {
		daemon_check_files(config);
		(void)fprintf(stderr, "%s: ok\n", config_file);
	}
	config_unref(config);
	buf_done(&errors);
	buf_done(&warnings);
	return rc == 0 ? EXIT_DONE : EXIT_CONFIG;
}

void
daemon_log_configure(const struct config *config, bool is_verbose)
{
	log_configure(config->log_format,
		      is_verbose ? LOG_LEVEL_DEBUG : config->log_level,
		      !notify_has_journal());
}

/* ------------------------------------------------------------- start-up */

static int
daemon_exit_code(int rc)
{
	switch (rc) {
	case -EACCES:
	case -EPERM:
		return EXIT_PERMISSION;
	default:
		return EXIT_SYSTEM;
	}
}

/* One line on standard error, whatever the log's format and level. */
static int
daemon_refuse(int rc, const struct err *err)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_ERROR, "start");
	log_text(&line, "reason", err->text);
	log_end(&line);
	return daemon_exit_code(rc);
}

static int
daemon_make_parent(const char *path, struct err *err)
{
	char *copy = mem_strdup(path);
	char *slash = strrchr(copy, '/');
	const struct place_owner us = {geteuid(), getegid()};
	int rc = 0;

	if (slash != NULL && slash != copy) {
		*slash = '\0';
		/* owned by root when root starts us, so that nobody else can
		 * put a socket in the place of ours */
		rc = place_folder(copy, 0755, us, err);
	}
	free(copy);
	return rc;
}

static int
daemon_find_user(const struct config *config, struct passwd **out,
		 struct err *err)
{
	struct passwd *user;

	*out = NULL;
	if (geteuid() != 0)
		return 0;
	errno = 0;
	user = getpwnam(config->user); /* before any thread exists */
	if (user == NULL && errno == ENOMEM)
		return err_set(err, -ENOMEM, "user '%s'", config->user);
	if (user == NULL)
		return err_text(err, -EPERM,
				"user '%s' does not exist (started as root: "
				"make it, or set user = \"...\")",
				config->user);
	*out = user;
	return 0;
}

/* What needs root's rights, done before they are given up. */
static int
daemon_prepare(struct daemon *daemon, const struct passwd *user,
	       struct err *err)
{
	const struct config *config = daemon->config;
	const struct place_owner owner = {
		.uid = user != NULL ? user->pw_uid : geteuid(),
		.gid = user != NULL ? user->pw_gid : getegid(),
	};
	int rc;

	for (size_t i = 0; i < config->listener_count; i++)
		for (size_t j = 0; j < config->listeners[i].address_count;
		     j++) {
			const char *path =
				config->listeners[i].addresses[j].unix_path;

			if (path == NULL)
				continue;
			rc = daemon_make_parent(path, err);
			if (rc < 0)
				return rc;
		}
	rc = listeners_open(daemon->loop, config, &daemon->listeners, err);
	if (rc < 0)
		return rc;
	rc = daemon_make_parent(config->control_socket, err);
	if (rc < 0)
		return rc;
	rc = control_bind(config->control_socket, user, &daemon->control, err);
	if (rc < 0)
		return rc;
	return place_folder(config->spool, 0700, owner, err);
}

static int
daemon_drop_privileges(const struct passwd *user, struct err *err)
{
	if (user == NULL || user->pw_uid == 0)
		return 0;
	if (initgroups(user->pw_name, user->pw_gid) < 0 ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return err_set(err, -errno, "becoming user '%s'",
			       user->pw_name);
	if (setuid(0) == 0) /* it must not be possible to go back */
		return err_text(err, -EPERM,
				"privileges could not be given up");
	return 0;
}

static bool
daemon_is_ours(void *arg, const struct ip *ip, uint16_t port)
{
	struct daemon *daemon = arg;

	return listeners_accept_on(daemon->listeners, ip, port);
}

void
daemon_queue_opts(struct daemon *daemon, struct queue_opts *out)
{
	config_queue_opts(daemon->config, out);
	out->trust = daemon->trust;
	out->is_ours = daemon_is_ours;
	out->is_ours_arg = daemon;
}

static void
on_queue_loaded(void *owner)
{
	struct daemon *daemon = owner;
	struct queue_stats stats;
	struct log_line line;

	queue_stats(daemon->queue, &stats);
	log_begin(&line, LOG_LEVEL_INFO, "start");
	log_text(&line, "part", "queue");
	log_number(&line, "messages", (int64_t)stats.messages);
	log_end(&line);
}

static void
on_queue_broken(void *owner)
{
	struct daemon *daemon = owner;

	daemon->exit_code = EXIT_SPOOL;
	daemon_stop(daemon, "the spool can no longer be trusted");
}

static const struct queue_events queue_events = {
	.loaded = on_queue_loaded,
	.broken = on_queue_broken,
};

static int
daemon_open_auth(struct daemon *daemon, struct err *err)
{
	const struct config *config = daemon->config;
	struct auth_server_opts opts = {
		.mechanisms = (const char *const *)config->auth.mechanisms,
		.database = config->auth.database,
		.options = (const char *const *)config->auth.options,
		.realm = config->auth.realm,
		.hostname = config->hostname,
	};

	return auth_server_open(daemon->loop, &opts, &daemon->auth, err);
}

/* Everything that is opened with the rights of `user`. */
static int
daemon_open(struct daemon *daemon, struct err *err)
{
	const struct config *config = daemon->config;
	struct resolver_opts resolver_opts;
	struct queue_opts queue_opts;
	struct smtpd_tls *tls;
	bool was_made = false;
	int rc;

	/* the system's authorities are known to be good, and read later */
	if (config->tls.ca != NULL) {
		rc = trust_open(config->tls.ca, &daemon->trust, err);
		if (rc < 0)
			return rc;
	}
	rc = smtpd_tls_open(config, &tls, &was_made, err);
	if (rc < 0)
		return rc;
	if (was_made) {
		struct log_line line;

		log_begin(&line, LOG_LEVEL_WARN, "tls");
		log_text(
			&line, "reason",
			"no certificate is configured: made a self-signed one,"
			" which other servers and mail programs cannot verify");
		log_end(&line);
	}
	config_resolver_opts(config, &resolver_opts);
	rc = resolver_new(daemon->loop, &resolver_opts, &daemon->resolver, err);
	if (rc == 0)
		rc = daemon_open_auth(daemon, err);
	if (rc == 0) {
		daemon_queue_opts(daemon, &queue_opts);
		rc = queue_open(daemon->loop, &queue_opts, config->policy,
				daemon->resolver, &queue_events, daemon,
				&daemon->queue, err);
	}
	if (rc < 0) {
		smtpd_tls_free(tls);
		return rc;
	}
	daemon->smtpd =
		smtpd_new(daemon->loop, daemon->config, tls, daemon->queue,
			  daemon->resolver, daemon->auth);
	daemon->smtpd->is_ours = daemon_is_ours;
	daemon->smtpd->is_ours_arg = daemon;
	return 0;
}

/* -------------------------------------------------------------- serving */

static void
daemon_log_address(void *arg, const char *name, const char *address)
{
	struct log_line line;

	(void)arg;
	log_begin(&line, LOG_LEVEL_INFO, "start");
	log_text(&line, "listener", name);
	log_text(&line, "address", address);
	log_end(&line);
}

static void
daemon_log_unused(void *arg, const char *address)
{
	struct log_line line;

	(void)arg;
	log_begin(&line, LOG_LEVEL_WARN, "config");
	log_text(&line, "address", address);
	log_text(&line, "reason",
		 "systemd passed this socket and no listener has its address: "
		 "who connects waits for nobody; add it to a listener, or take "
		 "it out of the .socket unit");
	log_end(&line);
}

static int
daemon_serve(struct daemon *daemon, struct err *err)
{
	struct log_line line;
	int rc;

	rc = control_start(daemon->control, daemon, err);
	if (rc == 0)
		rc = listeners_start(daemon->listeners, smtpd_accept,
				     daemon->smtpd, err);
	if (rc < 0)
		return rc;
	daemon->phase = DAEMON_RUNNING;
	log_begin(&line, LOG_LEVEL_INFO, "start");
	log_text(&line, "version", version_text());
	log_text(&line, "hostname", daemon->config->hostname);
	log_text(&line, "config", daemon->config_file);
	log_number(&line, "pid", getpid());
	log_end(&line);
	listeners_each(daemon->listeners, daemon_log_address, NULL);
	notify_unused(daemon_log_unused, NULL);
	daemon_watch_files(daemon);
	daemon->admin = admin_new(daemon);
	notify_ready();
	return 0;
}

/* ------------------------------------------------------------------ end */

static void
on_handle_closed(uv_handle_t *handle)
{
	(void)handle; /* embedded in the daemon */
}

static void
daemon_close_handles(struct daemon *daemon)
{
	file_watch_free(daemon->watch);
	daemon->watch = NULL;
	for (size_t i = 0; i < 4; i++)
		uv_close((uv_handle_t *)&daemon->signals[i], on_handle_closed);
	uv_close((uv_handle_t *)&daemon->drain_timer, on_handle_closed);
	uv_close((uv_handle_t *)&daemon->prepare, on_handle_closed);
}

static void
on_queue_closed(void *arg)
{
	struct daemon *daemon = arg;

	daemon->queue = NULL;
	smtpd_free(daemon->smtpd);
	daemon->smtpd = NULL;
	resolver_free(daemon->resolver);
	daemon->resolver = NULL;
	auth_server_close(daemon->auth);
	daemon->auth = NULL;
	trust_unref(daemon->trust);
	daemon->trust = NULL;
	daemon_close_handles(daemon);
}

static void
on_sessions_gone(void *owner)
{
	struct daemon *daemon = owner;
	/* what deliveries get is what sessions left of `drain` */
	uint64_t left_ms = daemon->is_hurried
				   ? 0
				   : uv_timer_get_due_in(&daemon->drain_timer);

	if (daemon->phase != DAEMON_DRAINING)
		return;
	control_free(daemon->control);
	daemon->control = NULL;
	daemon->phase = DAEMON_CLOSING;
	admin_free(daemon->admin);
	daemon->admin = NULL;
	uv_timer_stop(&daemon->drain_timer);
	queue_close(daemon->queue, left_ms, on_queue_closed, daemon);
}

/*
 * Gives back what a start that failed had opened: the control socket would
 * stay in the file system, and a leak checker would call the rest lost.
 */
static void
daemon_abandon(struct daemon *daemon)
{
	for (size_t i = 0; i < 4; i++)
		uv_signal_stop(&daemon->signals[i]);
	/* those that take connections already would go on without a smtpd */
	if (daemon->listeners != NULL)
		listeners_stop(daemon->listeners);
	control_free(daemon->control);
	daemon->control = NULL;
	if (daemon->queue != NULL)
		queue_close(daemon->queue, 0, on_queue_closed, daemon);
	else
		on_queue_closed(daemon);
}

static void
on_drain_over(uv_timer_t *timer)
{
	struct daemon *daemon = timer->data;

	smtpd_drain_now(daemon->smtpd);
}

void
daemon_stop(struct daemon *daemon, const char *why)
{
	struct log_line line;

	if (daemon->phase == DAEMON_CLOSING ||
	    daemon->phase == DAEMON_DRAINING) {
		/* the second time: no more waiting */
		daemon->is_hurried = true;
		smtpd_drain_now(daemon->smtpd);
		if (daemon->phase == DAEMON_CLOSING && daemon->queue != NULL)
			queue_close_now(daemon->queue);
		return;
	}
	log_begin(&line, LOG_LEVEL_INFO, "stop");
	log_text(&line, "reason", why);
	log_end(&line);
	notify_stopping();
	daemon->phase = DAEMON_DRAINING;
	listeners_stop(daemon->listeners);
	uv_timer_start(&daemon->drain_timer, on_drain_over,
		       daemon->config->drain_ms, 0);
	smtpd_drain(daemon->smtpd, on_sessions_gone, daemon);
}

/* One status line in the log (SIGUSR1). */
static void
daemon_log_status(struct daemon *daemon)
{
	const struct smtpd_stats *smtpd = &daemon->smtpd->stats;
	struct queue_stats queue;
	struct log_line line;

	queue_stats(daemon->queue, &queue);
	log_begin(&line, LOG_LEVEL_INFO, "status");
	log_number(&line, "sessions", (int64_t)smtpd->sessions);
	log_number(&line, "connections", (int64_t)smtpd->connections);
	log_number(&line, "accepted", (int64_t)queue.accepted);
	log_number(&line, "queue", (int64_t)queue.messages);
	log_number(&line, "active", (int64_t)queue.active);
	log_number(&line, "held", (int64_t)queue.held);
	log_number(&line, "delivered", (int64_t)queue.delivered);
	log_number(&line, "bounced", (int64_t)queue.bounced);
	log_end(&line);
}

/* ----------------------------------------------------------- event loop */

static void
on_signal(uv_signal_t *handle, int number)
{
	struct daemon *daemon = handle->data;

	switch (number) {
	case SIGHUP:
		daemon_reload(daemon, NULL, NULL);
		break;
	case SIGTERM:
		daemon_stop(daemon, "SIGTERM");
		break;
	case SIGINT:
		daemon_stop(daemon, "SIGINT");
		break;
	case SIGUSR1:
		if (daemon->queue != NULL && daemon->smtpd != NULL)
			daemon_log_status(daemon);
		break;
	}
}

static void
on_prepare(uv_prepare_t *handle)
{
	(void)handle;
	log_flush();
}

static void
daemon_init_loop(struct daemon *daemon)
{
	static const int numbers[4] = {SIGHUP, SIGTERM, SIGINT, SIGUSR1};

	for (size_t i = 0; i < 4; i++) {
		uv_signal_init(daemon->loop, &daemon->signals[i]);
		daemon->signals[i].data = daemon;
		uv_signal_start(&daemon->signals[i], on_signal, numbers[i]);
	}
	uv_prepare_init(daemon->loop, &daemon->prepare);
	uv_prepare_start(&daemon->prepare, on_prepare);
	uv_unref((uv_handle_t *)&daemon->prepare);
	uv_timer_init(daemon->loop, &daemon->drain_timer);
	daemon->drain_timer.data = daemon;
}

/* Thousands of connections need descriptors; take all that are allowed. */
static void
daemon_raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(0077);
}

static int
daemon_start(struct daemon *daemon)
{
	struct err err = ERR_INIT;
	struct passwd *user;
	int rc;

	rc = daemon_find_user(daemon->config, &user, &err);
	if (rc == 0)
		rc = daemon_prepare(daemon, user, &err);
	if (rc == 0)
		rc = daemon_drop_privileges(user, &err);
	if (rc == 0)
		rc = daemon_open(daemon, &err);
	if (rc == 0)
		rc = daemon_serve(daemon, &err);
	return rc < 0 ? daemon_refuse(rc, &err) : 0;
}

int
daemon_run(const char *config_file, bool is_verbose)
{
	struct daemon daemon = {.config_file = config_file,
				.is_verbose = is_verbose};
	struct buf errors, warnings;
	uv_loop_t loop;
	int rc;

	work_init();
	daemon_raise_limits();
	buf_init(&errors, DAEMON_ERRORS_MAX);
	buf_init(&warnings, DAEMON_ERRORS_MAX);
	rc = config_load(config_file, &daemon.config, &errors, &warnings);
	if (rc < 0) {
		(void)daemon_print(&errors, "");
		buf_done(&errors);
		buf_done(&warnings);
		return EXIT_CONFIG;
	}
	daemon_log_configure(daemon.config, is_verbose);
	daemon_log_lines(&warnings, LOG_LEVEL_WARN, "warning");
	buf_done(&errors);
	buf_done(&warnings);

	list_init(&daemon.reload_waiting);
	uv_loop_init(&loop);
	daemon.loop = &loop;
	daemon.started_ms = clock_wall_ms();
	daemon_init_loop(&daemon);
	rc = daemon_start(&daemon);
	if (rc != 0) {
		daemon.exit_code = rc;
		daemon_abandon(&daemon);
	}
	log_start();
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	listeners_free(daemon.listeners);
	config_unref(daemon.config);
	free(daemon.reload_error);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&loop);
	log_stop();
	return daemon.exit_code;
}
