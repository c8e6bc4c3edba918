/* SPDX-License-Identifier: ISC */
#include "server/admin.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/environment.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/net/tls_ctx.h"
#include "queue/faults.h"
#include "queue/queue.h"
#include "queue/route/sts.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/queue_json.h"
#include "server/rates.h"
#include "server/smtpd.h"

/* A certificate that ends within a day is a fault; doctor warns earlier. */
#define CERTIFICATE_MS 86400000

/* One alert on its way: the text waits, then a process reads it. */
struct alert {
	struct list link;    /* of those that wait */
	struct admin *admin; /* NULL: it is gone */
	char *text;
	uv_process_t process;
	uv_pipe_t input;
	uv_timer_t timer;
	uv_write_t write;
	unsigned open_handles;
};

struct admin {
	struct daemon *daemon;
	uv_timer_t timer;
	struct list waiting;
	size_t waiting_count;
	struct alert *running;
	uint64_t called_ms[ADMIN_CALLS_MAX]; /* boot clock, a ring */
	size_t calls;
	uint64_t left_out; /* alerts, since the last one */
	struct rates rates;
	bool was_short;
	uint64_t digests_failed, policies_failed;
};

/* --------------------------------------------------------------- words */

size_t
admin_words(const char *command, char **words, size_t max)
{
	struct buf word;
	size_t count = 0;
	char quote = '\0';
	bool has_word = false;

	buf_init(&word, 65536);
	for (const char *at = command;; at++) {
		if (*at == '\0' || (quote == '\0' && strchr(" \t", *at))) {
			if (has_word && count + 1 < max)
				words[count++] = mem_strdup(buf_text(&word));
			buf_clear(&word);
			has_word = false;
			if (*at == '\0')
				break;
			continue;
		}
		has_word = true;
		if (*at == quote) {
			quote = '\0';
		} else if (quote == '\0' && (*at == '"' || *at == '\'')) {
			quote = *at;
		} else {
			if (*at == '\\' && quote != '\'' && at[1] != '\0')
				at++;
			(void)buf_add(&word, at, 1);
		}
	}
	buf_done(&word);
	while (quote != '\0' && count != 0)
		free(words[--count]);
	words[count] = NULL;
	return count;
}

/* ------------------------------------------------------------- a process */

static void admin_next(struct admin *admin);

static void
alert_free(struct alert *alert)
{
	free(alert->text);
	free(alert);
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct alert *alert = handle->data;

	if (--alert->open_handles == 0)
		alert_free(alert);
}

static void
alert_close(struct alert *alert)
{
	struct admin *admin = alert->admin;

	uv_close((uv_handle_t *)&alert->process, on_handle_closed);
	if (!uv_is_closing((uv_handle_t *)&alert->input))
		uv_close((uv_handle_t *)&alert->input, on_handle_closed);
	uv_close((uv_handle_t *)&alert->timer, on_handle_closed);
	if (admin == NULL)
		return;
	admin->running = NULL;
	admin_next(admin);
}

static void
log_command(const char *what, int64_t number)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARN, "alert");
	log_text(&line, "reason", what);
	log_number(&line, "status", number);
	log_end(&line);
}

static void
on_exit_code(uv_process_t *process, int64_t status, int signal_number)
{
	struct alert *alert = process->data;

	if (signal_number != 0)
		log_command("alert_command was ended by a signal",
			    signal_number);
	else if (status != 0)
		log_command("alert_command failed", status);
	alert_close(alert);
}

static void
on_too_long(uv_timer_t *timer)
{
	struct alert *alert = timer->data;

	/* and what it started; it has an end */
	(void)uv_kill(-alert->process.pid, SIGKILL);
}

static void
on_written(uv_write_t *write, int status)
{
	struct alert *alert = write->data;

	(void)status; /* it need not read it */
	if (!uv_is_closing((uv_handle_t *)&alert->input))
		uv_close((uv_handle_t *)&alert->input, on_handle_closed);
}

/* Returns false, and frees it, when it cannot be run. */
static bool
alert_run(struct alert *alert)
{
	struct admin *admin = alert->admin;
	uv_loop_t *loop = admin->daemon->loop;
	char *words[ADMIN_WORDS_MAX];
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE},
		{.flags = UV_IGNORE},
		{.flags = UV_INHERIT_FD, .data.fd = 2},
	};
	char *environment[ENVIRONMENT_COMMAND_MAX];
	uv_process_options_t options = {
		.exit_cb = on_exit_code,
		.args = words,
		.env = environment,
		.stdio = stdio,
		.stdio_count = 3,
		.flags = UV_PROCESS_DETACHED,
	};
	uv_buf_t text = uv_buf_init(alert->text, (unsigned)strlen(alert->text));
	size_t count = admin_words(admin->daemon->config->queue.alert_command,
				   words, ADMIN_WORDS_MAX);
	int rc;

	(void)uv_pipe_init(loop, &alert->input, 0); /* neither can fail */
	(void)uv_timer_init(loop, &alert->timer);
	stdio[0].data.stream = (uv_stream_t *)&alert->input;
	options.file = words[0];
	environment_for_command(environment);
	alert->process.data = alert->input.data = alert->timer.data =
		alert->write.data = alert;
	alert->open_handles = 3;
	rc = count != 0 ? uv_spawn(loop, &alert->process, &options) : UV_EINVAL;
	for (size_t i = 0; i < count; i++)
		free(words[i]);
	admin->running = alert;
	if (rc < 0) {
		struct log_line line;

		log_begin(&line, LOG_LEVEL_ERROR, "alert");
		log_text(&line, "reason", uv_strerror(rc));
		log_text(&line, "command",
			 admin->daemon->config->queue.alert_command);
		log_end(&line);
		if (count == 0) /* uv_spawn makes it a handle before it fails */
			alert->open_handles--;
		else
			uv_close((uv_handle_t *)&alert->process,
				 on_handle_closed);
		uv_close((uv_handle_t *)&alert->input, on_handle_closed);
		uv_close((uv_handle_t *)&alert->timer, on_handle_closed);
		admin->running = NULL;
		return false;
	}
	(void)uv_timer_start(&alert->timer, on_too_long, ADMIN_TIMEOUT_MS, 0);
	(void)uv_write(&alert->write, (uv_stream_t *)&alert->input, &text, 1,
		       on_written);
	return true;
}

/* ---------------------------------------------------------------- alerts */

/* Fewer than so many within the period before now? */
static bool
may_call(struct admin *admin)
{
	uint64_t now_ms = clock_boot_ms();
	uint64_t *slot = &admin->called_ms[admin->calls % ADMIN_CALLS_MAX];

	if (admin->calls >= ADMIN_CALLS_MAX && now_ms < *slot + ADMIN_PERIOD_MS)
		return false;
	*slot = now_ms;
	admin->calls++;
	return true;
}

static void
admin_next(struct admin *admin)
{
	while (admin->running == NULL) {
		struct list *node = list_pop(&admin->waiting);

		if (node == NULL)
			return;
		admin->waiting_count--;
		(void)alert_run(container_of(node, struct alert, link));
	}
}

static json_t *
clean(const char *text)
{
	char *copy = queue_json_clean(text);
	json_t *value = json_string(copy);

	free(copy);
	return value;
}

static json_t *
fault_json(const struct fault *fault)
{
	return json_pack("{s:s,s:o,s:o,s:I,s:I,s:I,s:s}", "kind",
			 fault_kind_name(fault->kind), "where",
			 clean(fault->where), "reason", clean(fault->words),
			 "since_ms", (json_int_t)fault->first_ms, "last_ms",
			 (json_int_t)fault->last_ms, "count",
			 (json_int_t)fault->count, "advice",
			 fault_advice(fault->kind));
}

static void
admin_call(struct admin *admin, const struct fault *fault)
{
	const struct config *config = admin->daemon->config;
	struct alert *alert;
	json_t *object;
	char *text;

	if (config->queue.alert_command == NULL)
		return;
	if (admin->waiting_count == ADMIN_WAITING_MAX || !may_call(admin)) {
		admin->left_out++;
		return;
	}
	object = fault_json(fault);
	json_object_set_new(object, "event", json_string("fault"));
	json_object_set_new(object, "over", json_boolean(fault->is_over));
	json_object_set_new(object, "hostname", clean(config->hostname));
	json_object_set_new(object, "left_out",
			    json_integer((json_int_t)admin->left_out));
	admin->left_out = 0;
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	alert = mem_zalloc(sizeof(*alert));
	alert->admin = admin;
	alert->text = mem_printf("%s\n", text != NULL ? text : "{}");
	free(text);
	list_init(&alert->link);
	list_push(&admin->waiting, &alert->link);
	admin->waiting_count++;
	admin_next(admin);
}

static void
on_fault(void *arg, const struct fault *fault)
{
	char since[CLOCK_DATE_MAX];
	struct log_line line;

	log_begin(&line, fault->is_over ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
		  "fault");
	log_text(&line, "kind", fault_kind_name(fault->kind));
	if (fault->where[0] != '\0')
		log_text(&line, "where", fault->where);
	log_text(&line, "reason", fault->words);
	log_text(&line, "since", clock_format_rfc3339(fault->first_ms, since));
	log_number(&line, "count", (int64_t)fault->count);
	log_bool(&line, "over", fault->is_over);
	if (!fault->is_over)
		log_text(&line, "advice", fault_advice(fault->kind));
	log_end(&line);
	admin_call(arg, fault);
}

/* ---------------------------------------------- what nobody else notices */

static void
counts_now(const struct daemon *daemon, uint64_t counts[RATE_KINDS])
{
	const struct smtpd_stats *smtpd = &daemon->smtpd->stats;
	struct queue_stats queue;

	queue_stats(daemon->queue, &queue);
	counts[RATE_CONNECTIONS] = smtpd->connections;
	counts[RATE_ACCEPTED] = queue.accepted;
	counts[RATE_REJECTED] = smtpd->rejected;
	counts[RATE_DELIVERED] = queue.delivered;
	counts[RATE_DEFERRED] = queue.deferrals;
	counts[RATE_BOUNCED] = queue.bounced + queue.expired;
}

json_t *
admin_last_minute(const struct daemon *daemon)
{
	json_t *row = json_object();
	uint64_t counts[RATE_KINDS];

	counts_now(daemon, counts);
	for (size_t i = 0; i < RATE_KINDS; i++)
		json_object_set_new(row, rate_name((enum rate_kind)i),
				    json_integer((json_int_t)rates_last_minute(
					    &daemon->admin->rates,
					    (enum rate_kind)i, counts)));
	return row;
}

static void
check_certificates(struct admin *admin, uint64_t now_ms)
{
	const struct smtpd_tls *tls = admin->daemon->smtpd->tls;
	struct faults *faults = queue_faults(admin->daemon->queue);
	char words[CLOCK_DATE_MAX + 40], date[CLOCK_DATE_MAX];
	uint64_t end_ms = 0;

	for (size_t i = 0; i < tls->count; i++) {
		long long end_s = tls->contexts[i] != NULL
					  ? tls_ctx_expires(tls->contexts[i])
					  : 0;

		if (end_s > 0 &&
		    (end_ms == 0 || (uint64_t)end_s * 1000 < end_ms))
			end_ms = (uint64_t)end_s * 1000;
	}
	if (end_ms == 0 || end_ms > now_ms + CERTIFICATE_MS) {
		faults_over(faults, FAULT_CERTIFICATE, NULL, now_ms);
		return;
	}
	(void)snprintf(words, sizeof(words), "our certificate %s on %s",
		       end_ms > now_ms ? "ends" : "has ended",
		       clock_format_rfc3339(end_ms, date));
	faults_met(faults, FAULT_CERTIFICATE, "", words, now_ms);
}

static void
check_policies(struct admin *admin, uint64_t now_ms)
{
	struct faults *faults = queue_faults(admin->daemon->queue);
	struct sts_stats stats;

	sts_stats(queue_sts(admin->daemon->queue), &stats);
	if (stats.broken[0] == '\0')
		faults_over(faults, FAULT_STS, NULL, now_ms);
	else if (stats.failed != admin->policies_failed)
		faults_met(faults, FAULT_STS, "", stats.broken, now_ms);
	admin->policies_failed = stats.failed;
}

static void
on_check(uv_timer_t *timer)
{
	struct admin *admin = timer->data;
	struct daemon *daemon = admin->daemon;
	struct faults *faults = queue_faults(daemon->queue);
	uint64_t now_ms = clock_wall_ms();
	enum queue_accepting accepting = queue_accepting(daemon->queue);
	uint64_t counts[RATE_KINDS];
	struct queue_stats stats;

	counts_now(daemon, counts);
	rates_note(&admin->rates, counts);
	check_certificates(admin, now_ms);
	check_policies(admin, now_ms);
	if (accepting != QUEUE_ACCEPTS)
		faults_met(faults, FAULT_DISK, daemon->config->spool,
			   accepting == QUEUE_SHORT
				   ? "less is free than limits.spool_free"
				   : "the spool cannot be written",
			   now_ms);
	else if (admin->was_short)
		faults_over(faults, FAULT_DISK, NULL, now_ms);
	admin->was_short = accepting != QUEUE_ACCEPTS;

	queue_stats(daemon->queue, &stats);
	if (stats.digest.last_why == NULL)
		faults_over(faults, FAULT_DIGEST, NULL, now_ms);
	else if (stats.digest.failed != admin->digests_failed)
		faults_met(faults, FAULT_DIGEST,
			   policy_postmaster(daemon->config->policy),
			   stats.digest.last_why, now_ms);
	admin->digests_failed = stats.digest.failed;
}

/* ------------------------------------------------------------------ life */

struct admin *
admin_new(struct daemon *daemon)
{
	struct admin *admin = mem_zalloc(sizeof(*admin));
	struct faults *faults = queue_faults(daemon->queue);

	admin->daemon = daemon;
	list_init(&admin->waiting);
	(void)uv_timer_init(daemon->loop, &admin->timer);
	admin->timer.data = admin;
	(void)uv_timer_start(&admin->timer, on_check, RATES_SAMPLE_MS,
			     RATES_SAMPLE_MS);
	faults->on_fault = on_fault;
	faults->arg = admin;
	return admin;
}

static void
on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
admin_free(struct admin *admin)
{
	struct faults *faults;

	if (admin == NULL)
		return;
	faults = queue_faults(admin->daemon->queue);
	faults->on_fault = NULL;
	while (!list_is_empty(&admin->waiting))
		alert_free(container_of(list_pop(&admin->waiting), struct alert,
					link));
	if (admin->running != NULL) {
		struct alert *alert = admin->running;

		/* its last words are written; its end is nobody's */
		alert->admin = NULL;
		alert_close(alert);
	}
	uv_close((uv_handle_t *)&admin->timer, on_timer_closed);
}

json_t *
admin_faults(const struct daemon *daemon)
{
	const struct faults *faults = queue_faults(daemon->queue);
	json_t *list = json_array();

	for (size_t i = 0; i < faults->count; i++)
		json_array_append_new(list, fault_json(&faults->list[i]));
	return list;
}
