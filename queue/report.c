/* SPDX-License-Identifier: ISC */
/*
 * What a run tells the sender: recipients that failed for one cause share
 * one report. Reports are messages of their own, from the null sender, and
 * become durable in one batch with the states that they tell of.
 *
 * They go to the envelope's sender and to nobody else: no header of the
 * original is asked for an address. Where there is no sender, or he was told
 * enough within the hour, it is the postmaster's digest that is told.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "policy/limit.h"
#include "queue/core.h"

struct report {
	struct queue_put put;
	bool is_digest; /* told to the digest: no message of its own */
	struct digest_ticket ticket;
	struct run *run;
	struct report *next;
	const struct settlement *first; /* lends: says the cause of all */
};

/* One report for both? */
static bool
is_alike(const struct settlement *a, const struct settlement *b)
{
	return a->has_report == b->has_report && a->digest == b->digest &&
	       a->report == b->report && a->is_late == b->is_late &&
	       a->state == b->state &&
	       a->classification.category == b->classification.category &&
	       strcmp(a->classification.rule, b->classification.rule) == 0 &&
	       a->is_denied == b->is_denied &&
	       a->denied.cause == b->denied.cause &&
	       strcmp(a->final->host, b->final->host) == 0;
}

bool
report_tells(const struct report *report, const struct settlement *of)
{
	return is_alike(report->first, of);
}

static void
log_report(const struct report *report, size_t recipients)
{
	const struct envelope *envelope = &report->run->message->envelope;
	char id[SPOOL_ID_MAX], of[SPOOL_ID_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "dsn");
	log_text(&line, "id", spool_id_format(report->put.spool.id, id));
	log_text(&line, "of", spool_id_format(envelope->id, of));
	log_text(&line, "to", envelope->sender);
	log_text(&line, "kind", dsn_kind_name(report->first->report));
	log_number(&line, "recipients", (int64_t)recipients);
	if (report->first->report == DSN_FAILED ||
	    report->first->report == DSN_DELAYED) {
		log_text(&line, "category",
			 category_name(report->first->classification.category));
		log_text(&line, "rule", report->first->classification.rule);
	}
	log_end(&line);
}

/* ---------------------------------------------------------- the cap */

static void
cap_key(const struct run *run, char key[LIMIT_KEY_MAX])
{
	(void)str_copy(key, LIMIT_KEY_MAX,
		       str_of(run->message->envelope.sender));
	str_lower_all(key);
}

/* Was the sender told enough within the hour? */
static bool
is_over_cap(const struct run *run)
{
	struct queue *queue = run->queue;
	char key[LIMIT_KEY_MAX];

	cap_key(run, key);
	return !limit_take(queue->reports, key, &queue->reports_per_sender, 1,
			   queue_boot_ms(queue), NULL);
}

static void
cap_give_back(const struct run *run)
{
	struct queue *queue = run->queue;
	char key[LIMIT_KEY_MAX];

	cap_key(run, key);
	limit_give(queue->reports, key, &queue->reports_per_sender, 1);
}

/* ------------------------------------------------------- to the sender */

static void
on_put_end(void *owner, int status)
{
	struct report *report = owner;
	struct log_line line;
	char of[SPOOL_ID_MAX];

	report->put.queue = NULL;
	if (status < 0) {
		cap_give_back(report->run);
		log_begin(&line, LOG_LEVEL_ERROR, "dsn");
		log_text(&line, "of",
			 spool_id_format(report->run->leg->entry->id, of));
		log_text(&line, "reason", uv_strerror(status));
		log_end(&line);
	}
	run_report_done(report->run, report, status);
}

static void
on_put_room(void *owner)
{
	/* a report is small: it was handed over in one go */
}

/* What one report is made from; lends to its input. */
struct telling {
	struct dsn_input input;
	struct dsn_recipient *told; /* owns */
	char id[SPOOL_ID_MAX], report_id[SPOOL_ID_MAX];
};

/* All that are like the report's first. Its id is not known yet. */
static void
telling_init(struct telling *telling, const struct report *report)
{
	struct run *run = report->run;
	const struct settlement *end = run->settled + run->settled_count;
	struct queue *queue = run->queue;
	struct envelope *envelope = &run->message->envelope;
	size_t count = 0;

	telling->told = mem_zalloc((size_t)(end - report->first) *
				   sizeof(*telling->told));
	for (const struct settlement *at = report->first; at != end; at++) {
		struct dsn_recipient *told = &telling->told[count];

		if (!is_alike(report->first, at))
			continue;
		told->recipient = &envelope->recipients[at->recipient];
		told->outcome = at->final;
		told->classification = at->classification;
		told->each_time = at->is_each_time ? &at->each_time : NULL;
		told->story = at->is_denied ? run->story : NULL;
		count++;
	}
	telling->input = (struct dsn_input){
		.kind = report->first->report,
		.is_late = report->first->is_late,
		.texts = queue->texts,
		.language = queue->language,
		.hostname = policy_hostname(queue->policy),
		.from = policy_postmaster(queue->policy),
		.id = spool_id_format(envelope->id, telling->id),
		.now_ms = queue_wall_ms(queue),
		.retry_until_ms = settle_expiry_ms(&queue->rules, envelope),
		.envelope = envelope,
		.recipients = telling->told,
		.recipient_count = count,
		.original = buf_bytes(&run->original),
		.original_len = buf_len(&run->original),
		.original_size = envelope->size,
	};
}

/* Formats the report into the put. */
static void
report_format(struct report *report, struct telling *telling)
{
	struct dsn_input *input = &telling->input;
	struct buf text;

	input->report_id =
		spool_id_format(report->put.spool.id, telling->report_id);
	buf_init(&text, DSN_ROOM);
	dsn_format(input, &text);
	(void)queue_put_data(&report->put, buf_bytes(&text), buf_len(&text));
	log_report(report, input->recipient_count);
	buf_done(&text);
}

/* ------------------------------------------------------ to the digest */

static void
on_digest_done(struct digest_ticket *ticket, int status)
{
	struct report *report = container_of(ticket, struct report, ticket);

	run_report_done(report->run, report, status);
}

/* All that are like its first, to the digest. */
static void
report_to_digest(struct report *report)
{
	const struct settlement *first = report->first,
				*at = report->run->settled;
	const struct settlement *end = at + report->run->settled_count;
	struct queue *queue = report->run->queue;
	const struct envelope *envelope = &report->run->message->envelope;
	char words[OUTCOME_REPLY_MAX], id[SPOOL_ID_MAX];
	struct sheet_item item = {
		.why = first->has_report ? SHEET_OVER_CAP : SHEET_NO_SENDER,
		.category = first->classification.category,
		.at_ms = queue_wall_ms(queue),
		.id = spool_id_format(envelope->id, id),
		.sender = envelope->sender,
		.recipient = envelope->recipients[first->recipient].address,
		.words = words,
	};

	settle_words(first->final, words, sizeof(words));
	report->ticket.on_done = on_digest_done;
	switch (first->digest) {
	case DIGEST_NOTHING:
	case DIGEST_FAILURE:
		for (; at != end; at++)
			item.recipients += is_alike(first, at);
		digest_add(queue->digest, &item, &report->ticket);
		break;
	case DIGEST_DELIVERED:
	case DIGEST_LOST:
		digest_settled(queue->digest, envelope->id,
			       first->digest == DIGEST_LOST ? words : NULL,
			       &report->ticket);
		break;
	}
}

/* ------------------------------------------------------- whom it goes to */

/* A list as a sender does not hear of its failures as a whole. */
#define ADDRESSEES_MAX 20

static void
add_addressee(struct envelope *envelope, const char *address)
{
	/* RFC 3461, 6.1: nothing is reported about a report */
	envelope_add(envelope, address)->notify = NOTIFY_NEVER;
	envelope->is_utf8 |= !str_is_ascii(str_of(address));
}

static void
on_addressee(void *arg, const struct addr *final)
{
	struct envelope *envelope = arg;

	for (size_t i = 0; i < envelope->recipient_count; i++)
		if (strcmp(envelope->recipients[i].address, final->text) == 0)
			return;
	if (envelope->recipient_count < ADDRESSEES_MAX)
		add_addressee(envelope, final->text);
}

void
report_address(const struct queue *queue, const char *address,
	       struct envelope *envelope)
{
	struct addr addr;

	if (addr_parse(str_of(address), ADDR_ALLOW_UTF8, &addr) == NULL)
		policy_expand(queue->policy, &addr, on_addressee, envelope);
	else
		add_addressee(envelope, address);
}

/* RFC 6531, 3.4: whom SMTPUTF8 reaches only, of him nothing more is asked when
 * the report needs it. Aliases may lead to others, too. */
static bool
wants_utf8(const struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->recipient_count; i++)
		if (str_is_ascii(str_of(envelope->recipients[i].address)))
			return false;
	return true;
}

/* ------------------------------------------------------- for the run */

static void
report_begin_put(struct report *report, struct dsn_input *input)
{
	struct run *run = report->run;
	struct envelope envelope;

	report->put.owner = report;
	report->put.on_room = on_put_room;
	report->put.on_end = on_put_end;

	envelope_init(&envelope);
	envelope.sender = mem_strdup("");
	envelope.received_ms = queue_wall_ms(run->queue);
	envelope.listener = mem_strdup("report");
	report_address(run->queue, run->message->envelope.sender, &envelope);
	input->may_be_utf8 = wants_utf8(&envelope);
	envelope.is_8bit = dsn_is_8bit(input);
	queue_put_begin(run->queue, &report->put, &envelope);
}

static void
report_begin(struct run *run, const struct settlement *first)
{
	struct report *report = mem_zalloc(sizeof(*report));
	struct telling telling;

	report->run = run;
	report->first = first;
	report->next = run->reports;
	run->reports = report;
	run->reports_left++;
	list_init(&report->ticket.link);
	report->is_digest = !first->has_report || is_over_cap(run);
	if (report->is_digest)
		return; /* nothing to prepare */
	telling_init(&telling, report);
	report_begin_put(report, &telling.input);
	report_format(report, &telling);
	free(telling.told);
}

void
report_make(struct run *run)
{
	const struct settlement *end = run->settled + run->settled_count;

	for (const struct settlement *at = run->settled; at != end; at++) {
		struct report *known = run->reports;

		if (!at->has_report && at->digest == DIGEST_NOTHING)
			continue;
		while (known != NULL && !report_tells(known, at))
			known = known->next;
		if (known == NULL)
			report_begin(run, at);
	}
}

bool
report_is_small(const struct run *run)
{
	const struct report *report = run->reports;

	/* the digest is no part of a batch */
	while (report != NULL && !report->is_digest &&
	       !spool_put_is_large(&report->put.spool))
		report = report->next;
	return report == NULL;
}

void
report_submit(struct run *run)
{
	for (struct report *report = run->reports; report != NULL;
	     report = report->next) {
		if (report->is_digest)
			report_to_digest(report);
		else
			queue_put_end(&report->put);
	}
}

void
report_free(struct run *run)
{
	while (run->reports != NULL) {
		struct report *report = run->reports;

		run->reports = report->next;
		if (report->is_digest)
			digest_cancel(&report->ticket);
		else
			queue_put_abort(&report->put);
		free(report);
	}
}
