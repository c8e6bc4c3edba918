/* SPDX-License-Identifier: ISC */
/*
 * From a slot to the written outcome: the envelope is opened, recipients get
 * their legs by the policy of this moment, the delivery runs, outcomes are
 * decided and written, and the leg goes back to wait or ends.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/random.h"
#include "lib/units.h"
#include "queue/core.h"

/* A message or a report that the disk refused: when to try again. */
#define DISK_RETRY_MS 300000

/* The host asked for fewer connections: when to look again, at least. */
#define BUSY_RETRY_MS 1000

/* Bytes of the original that a report may need. */
#define ORIGINAL_MAX ((size_t)64 << 10)

static void run_ready(struct run *run);
static void run_finish(struct run *run);

/* ------------------------------------------------------------ messages */

static struct message *
message_new(struct queue *queue, struct entry *entry)
{
	struct message *message = mem_zalloc(sizeof(*message));

	message->queue = queue;
	message->entry = entry;
	list_init(&message->link);
	list_push(&queue->messages, &message->link);
	envelope_init(&message->envelope);
	entry->message = message;
	return message;
}

/* About what it takes, and never less. */
static size_t
envelope_bytes(const struct envelope *envelope)
{
	return 1024 +
	       envelope->recipient_count * (sizeof(struct recipient) + 128);
}

void
message_keep(struct queue *queue, struct entry *entry,
	     struct envelope *envelope)
{
	size_t bytes = envelope_bytes(envelope);
	struct message *message;

	if (queue->kept_bytes + bytes > KEPT_BYTES_MAX)
		return;
	message = message_new(queue, entry);
	message->envelope = *envelope;
	envelope_init(envelope);
	message->kept_bytes = bytes;
	queue->kept_bytes += bytes;
}

void
message_drop(struct message *message)
{
	list_remove(&message->link);
	if (message->load != NULL)
		spool_load_cancel(message->load);
	message->queue->kept_bytes -= message->kept_bytes;
	if (message->entry != NULL)
		message->entry->message = NULL;
	envelope_done(&message->envelope);
	policy_unref(message->assigned_by);
	free(message->leg_of);
	free(message);
}

void
message_detach(struct message *message)
{
	if (message == NULL)
		return;
	message->entry->message = NULL;
	message->entry = NULL;
	if (message->refs == 0)
		message_drop(message);
}

void
message_hand_over(struct message *message, const struct leg *from,
		  struct leg *to)
{
	if (message->leg_of == NULL)
		return;
	for (size_t i = 0; i < message->envelope.recipient_count; i++)
		if (message->leg_of[i] == from)
			message->leg_of[i] = to;
}

/* One worker less. The last one leaves the entry as the envelope says. */
static void
message_unref(struct message *message)
{
	struct queue *queue = message->queue;
	struct entry *entry = message->entry;

	if (--message->refs != 0)
		return;
	if (entry != NULL && message->envelope.recipient_count != 0) {
		queue_count_out(queue, entry);
		entry_refresh(entry, &message->envelope);
		queue_count_in(queue, entry);
		spool_forget_body(queue->spool, entry->id);
	}
	message_drop(message);
}

static bool
message_is_settled(const struct message *message)
{
	if (message->reports != 0)
		return false;
	for (size_t i = 0; i < message->envelope.recipient_count; i++)
		if (recipient_is_left(&message->envelope.recipients[i]))
			return false;
	return true;
}

/* ---------------------------------------------------- recipients to legs */

/* A leg of the entry for that key: one that has it, or one that is free, or
 * a new one. */
static struct leg *
leg_for(struct message *message, const char *key)
{
	struct entry *entry = message->entry;
	struct leg *leg;

	for (leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->destination != NULL &&
		    strcmp(leg->destination->key, key) == 0)
			return leg;
	for (leg = &entry->leg; leg != NULL; leg = leg->next)
		if (leg->destination == NULL &&
		    (leg->state == LEG_NEW || leg->state == LEG_QUEUED))
			return leg;
	queue_count_out(message->queue, entry);
	leg = entry_add_leg(entry);
	queue_count_in(message->queue, entry);
	return leg;
}

static bool
leg_is_busy(const struct leg *leg)
{
	return leg->state == LEG_ACTIVE || leg->state == LEG_SETTLING;
}

/* Where a leg stands by its recipients: how many, tried how often, due when.
 */
struct leg_sum {
	uint32_t recipients, attempts;
	uint64_t next_ms;
	bool is_warned;
};

static void
leg_sum(const struct message *message, const struct leg *leg,
	struct leg_sum *out)
{
	memset(out, 0, sizeof(*out));
	out->next_ms = UINT64_MAX;
	out->is_warned = true;
	for (size_t i = 0; i < message->envelope.recipient_count; i++) {
		const struct recipient *recipient =
			&message->envelope.recipients[i];

		if (message->leg_of[i] != leg)
			continue;
		out->recipients++;
		if (recipient->attempts > out->attempts)
			out->attempts = recipient->attempts;
		if (recipient->next_try_ms < out->next_ms)
			out->next_ms = recipient->next_try_ms;
		out->is_warned &= recipient->is_warned ||
				  message->envelope.sender[0] == '\0' ||
				  recipient->notify == NOTIFY_NEVER;
	}
}

/* Legs of a message that was just assigned: those without recipients end,
 * those that are new start to wait. */
static void
legs_settle(struct message *message, struct leg *keep)
{
	struct queue *queue = message->queue;
	struct leg *leg = &message->entry->leg, *next;

	for (; leg != NULL; leg = next) {
		struct leg_sum sum;

		next = leg->next;
		if (leg == keep || leg_is_busy(leg))
			continue;
		leg_sum(message, leg, &sum);
		if (sum.recipients == 0) {
			leg_end(queue, leg);
			continue;
		}
		leg->recipients = sum.recipients;
		leg->is_warned = sum.is_warned;
		leg_set_attempts(queue, leg, sum.attempts);
		if (leg->state == LEG_NEW)
			leg_wait(queue, leg, sum.next_ms);
	}
}

/*
 * Gives each recipient left a leg by the present policy; those whose leg is
 * at work stay with it.
 *
 * keep  a leg that waits for the result, or NULL
 */
static void
message_assign(struct message *message, struct leg *keep)
{
	struct queue *queue = message->queue;
	struct envelope *envelope = &message->envelope;
	struct redirect_target redirect;
	struct next_hop hop;
	struct leg *leg = NULL;

	if (message->leg_of == NULL)
		message->leg_of = mem_zalloc(envelope->recipient_count *
					     sizeof(struct leg *));
	for (size_t i = 0; i < envelope->recipient_count; i++) {
		if (!recipient_is_left(&envelope->recipients[i])) {
			message->leg_of[i] = NULL;
			continue;
		}
		if (message->leg_of[i] != NULL && message->leg_of[i] != keep &&
		    leg_is_busy(message->leg_of[i]))
			continue;
		redirect_next_hop(queue->policy, envelope, i, &redirect, &hop);
		if (leg == NULL || leg->destination == NULL ||
		    strcmp(leg->destination->key, hop.key) != 0) {
			leg = leg_for(message, hop.key);
			if (leg->destination == NULL) {
				struct destination_limits limits;

				limits_of(&hop, &limits);
				schedule_attach(&queue->schedule, leg, hop.key,
						&limits);
			}
		}
		message->leg_of[i] = leg;
	}
	policy_unref(message->assigned_by);
	message->assigned_by = policy_ref(queue->policy);
	legs_settle(message, keep);
}

/* ----------------------------------------------------------------- log */

static void
log_damaged(const struct entry *entry, const char *why)
{
	char id[SPOOL_ID_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_ERROR, "spool");
	log_text(&line, "id", spool_id_format(entry->id, id));
	log_text(&line, "reason", why);
	log_end(&line);
}

/* ------------------------------------------------------- a run's memory */

static struct run *
run_new(struct queue *queue, struct leg *leg)
{
	struct run *run = mem_zalloc(sizeof(*run));

	run->queue = queue;
	run->leg = leg;
	leg->run = run;
	list_init(&run->link);
	list_push(&queue->runs, &run->link);
	queue->run_count++;
	buf_init(&run->original, ORIGINAL_MAX);
	return run;
}

/* The message is the caller's to give back. */
static void
run_free(struct run *run)
{
	report_free(run);
	if (run->read != NULL)
		spool_read_cancel(run->read);
	if (run->reask != NULL)
		reask_cancel(run->reask);
	route_unref(run->dns_now);
	free(run->story);
	free(run->note);
	run->leg->run = NULL;
	list_remove(&run->link);
	run->queue->run_count--;
	policy_unref(run->policy);
	free(run->recipients);
	free(run->settled);
	free(run->outcomes);
	free(run->finals);
	buf_done(&run->original);
	free(run);
}

void
run_abort(struct run *run)
{
	struct message *message = run->message;

	if (run->delivery != NULL)
		delivery_abort(run->delivery);
	message->reports -= (unsigned)run->reports_left;
	run_free(run);
	message_unref(message);
}

void
entry_remove(struct queue *queue, struct entry *entry)
{
	struct leg *leg, *next;

	for (leg = &entry->leg; leg != NULL; leg = next) {
		next = leg->next;
		if (leg->run != NULL)
			run_abort(leg->run);
	}
	spool_done(queue->spool, entry->id);
	entry_end(queue, entry);
}

/* --------------------------------------------------------------- start */

/* The envelope cannot be read: damaged mail was set aside by the spool and
 * is only forgotten here, the rest is tried again later. */
static void
message_unreadable(struct message *message, int status, const char *why)
{
	struct queue *queue = message->queue;
	struct entry *entry = message->entry;
	struct leg *leg, *next;
	bool is_lost = status == -ENOENT || status == -EBADMSG;

	log_damaged(entry, why);
	for (leg = &entry->leg; leg != NULL; leg = next) {
		next = leg->next;
		if (leg->run == NULL)
			continue;
		/* the last one drops the message */
		run_abort(leg->run);
		if (!is_lost)
			leg_wait(queue, leg,
				 queue_wall_ms(queue) + DISK_RETRY_MS);
	}
	if (is_lost)
		entry_end(queue, entry);
	queue_kick(queue);
	queue_close_step(queue);
}

/* All runs that waited for the envelope go on. They may end, and the message
 * with them: so the legs are looked through again after each. */
static void
message_ready(struct message *message)
{
	struct leg *leg;

	message->refs++;
	while (message->entry != NULL) {
		for (leg = &message->entry->leg; leg != NULL; leg = leg->next)
			if (leg->run != NULL && leg->run->is_waiting)
				break;
		if (leg == NULL)
			break;
		leg->run->is_waiting = false;
		run_ready(leg->run);
	}
	message_unref(message);
}

static void
on_text(void *arg, int status, const struct spool_text *text)
{
	struct message *message = arg;
	struct err err = ERR_INIT;

	message->load = NULL;
	if (status < 0) {
		message_unreadable(message, status, uv_strerror(status));
		return;
	}
	status = envelope_parse(text->envelope, text->states,
				&message->envelope, &err);
	if (status < 0) {
		message_unreadable(message, status, err.text);
		return;
	}
	message->envelope.id = message->entry->id;
	message->envelope.size = text->body_bytes;
	message->envelope.received_ms = message->entry->received_ms;
	message_ready(message);
}

void
message_reload(struct message *message)
{
	if (message->load == NULL)
		return;
	spool_load_cancel(message->load);
	message->load = spool_load(message->queue->spool, message->entry->id,
				   on_text, message);
}

void
run_start(struct queue *queue, struct leg *leg, bool is_unheard)
{
	struct entry *entry = leg->entry;
	struct message *message = entry->message;
	struct run *run = run_new(queue, leg);

	if (message == NULL) {
		message = message_new(queue, entry);
		message->load =
			spool_load(queue->spool, entry->id, on_text, message);
	}
	queue->kept_bytes -= message->kept_bytes;
	message->kept_bytes = 0;
	message->refs++;
	run->message = message;
	run->is_unheard = is_unheard;
	if (message->load != NULL)
		run->is_waiting = true;
	else
		run_ready(run);
}

static void
run_pick(struct run *run)
{
	struct message *message = run->message;
	size_t count = message->envelope.recipient_count;

	run->recipients = mem_alloc(count * sizeof(*run->recipients));
	for (size_t i = 0; i < count; i++)
		if (message->leg_of[i] == run->leg)
			run->recipients[run->count++] = i;
}

/* The next hops are known now: its recipients wait there. */
static void
run_routed(struct run *run)
{
	struct queue *queue = run->queue;
	struct message *message = run->message;
	struct leg *leg = run->leg;

	run_free(run);
	schedule_drop(&queue->schedule, leg);
	message->entry->is_rerouted = false;
	message_assign(message, NULL);
	/* kept for the attempts that follow, if there is room */
	if (message->refs == 1 &&
	    queue->kept_bytes + envelope_bytes(&message->envelope) <=
		    KEPT_BYTES_MAX &&
	    !message->entry->is_held) {
		message->refs = 0;
		message->kept_bytes = envelope_bytes(&message->envelope);
		queue->kept_bytes += message->kept_bytes;
	} else {
		message_unref(message);
	}
	queue_kick(queue);
	queue_close_step(queue);
}

/* Everything that nobody works on goes back to the sender. */
static void
run_bounce(struct run *run)
{
	struct message *message = run->message;
	size_t count = message->envelope.recipient_count;
	struct outcome *outcomes;

	if (message->leg_of == NULL)
		message->leg_of = mem_zalloc(count * sizeof(struct leg *));
	for (size_t i = 0; i < count; i++) {
		struct leg *leg = message->leg_of[i];

		if (!recipient_is_left(&message->envelope.recipients[i]))
			message->leg_of[i] = NULL;
		else if (leg == NULL || !leg_is_busy(leg))
			message->leg_of[i] = run->leg;
	}
	run_pick(run);
	schedule_settle(&run->queue->schedule, run->leg);
	if (run->count == 0) {
		run_finish(run);
		return;
	}
	outcomes = mem_zalloc(run->count * sizeof(*outcomes));
	for (size_t i = 0; i < run->count; i++) {
		const struct recipient *recipient =
			&message->envelope.recipients[run->recipients[i]];

		outcome_own(&outcomes[i], CAUSE_OPERATOR, PHASE_NONE,
			    "Returned by the operator%s%s",
			    recipient->last_reply != NULL
				    ? "; the last attempt said: "
				    : "",
			    recipient->last_reply != NULL
				    ? recipient->last_reply
				    : "");
		outcomes[i].kind = OUTCOME_FAILED;
		outcomes[i].mx_ttl_s = -1;
	}
	run_settle(run, outcomes);
	free(outcomes);
}

/* Its time is over, or its sender has to be warned, and the destination is
 * down: what the last attempt there heard holds for this message too. */
static void
run_unheard(struct run *run)
{
	const struct outcome *last = run->leg->destination->lesson;
	struct outcome *outcomes = mem_alloc(run->count * sizeof(*outcomes));

	for (size_t i = 0; i < run->count; i++)
		outcomes[i] = *last;
	run->leg->is_down = true;
	schedule_settle(&run->queue->schedule, run->leg);
	run_settle(run, outcomes);
	free(outcomes);
}

/*
 * The host has as many connections as it asked for: nobody was asked for
 * anything, so this was no attempt. One leg of the destination looks again in
 * a moment, the others go back to wait until it got through.
 */
static bool
run_postpone(struct run *run, const struct outcome *outcomes)
{
	struct queue *queue = run->queue;
	struct destination *to = run->leg->destination;
	uint64_t now_ms = queue_wall_ms(queue);
	uint64_t pause_ms = BUSY_RETRY_MS + random_below(BUSY_RETRY_MS);
	char words[OUTCOME_REPLY_MAX];

	if (outcomes[0].cause != CAUSE_HOST_BUSY ||
	    now_ms + pause_ms >=
		    settle_expiry_ms(&queue->rules, &run->message->envelope))
		return false;
	settle_words(&outcomes[0], words, sizeof(words));
	schedule_pause(&queue->schedule, to, queue_boot_ms(queue) + pause_ms,
		       words);
	run->postponed_ms = now_ms + pause_ms;
	run->leg->is_down = true;
	schedule_settle(&queue->schedule, run->leg);
	run_finish(run);
	return true;
}

static void
on_outcomes(void *owner, const struct outcome *outcomes, size_t count)
{
	struct run *run = owner;
	struct queue *queue = run->queue;

	assert(count == run->count);
	run->delivery = NULL;
	run->leg->is_down = false;
	if (run_postpone(run, outcomes))
		return;
	run_learn(run, outcomes);
	schedule_settle(&queue->schedule, run->leg);
	run_judge(run, outcomes);
}

void
run_next_hop(struct run *run, const struct policy *policy, struct next_hop *out)
{
	redirect_next_hop(policy, &run->message->envelope, run->recipients[0],
			  &run->redirect, out);
}

static void
run_ready(struct run *run)
{
	struct queue *queue = run->queue;
	struct message *message = run->message;
	const char *key = run->leg->destination->key;
	struct delivery_request request = {.watch = NULL};
	struct next_hop hop;

	if (strcmp(key, KEY_BOUNCING) == 0) {
		run_bounce(run);
		return;
	}
	if (strcmp(key, KEY_ROUTING) == 0) {
		run_routed(run);
		return;
	}
	/* one at work when its mail was redirected has its old way yet */
	if (message->assigned_by != queue->policy ||
	    message->entry->is_redirected)
		message_assign(message, run->leg);
	run_pick(run);
	if (run->count == 0 || queue->is_closing) {
		schedule_settle(&queue->schedule, run->leg);
		run_finish(run);
		return;
	}
	if (run->is_unheard && run->leg->destination->lesson != NULL) {
		run_unheard(run);
		return;
	}
	run->policy = policy_ref(queue->policy);
	run_next_hop(run, run->policy, &hop);
	run->is_local = hop.kind == HOP_MAILDIR || hop.kind == HOP_LMTP ||
			hop.kind == HOP_DISCARD;
	request = (struct delivery_request){
		.policy = run->policy,
		.hop = &hop,
		.envelope = &message->envelope,
		.recipients = run->recipients,
		.recipient_count = run->count,
	};
	run->delivery =
		delivery_start(queue->deliverer, &request, on_outcomes, run);
}

/* -------------------------------------------------------------- settle */

/* What the report of an expired recipient tells. */
static void
outcome_expired(const struct run *run, const struct outcome *last,
		struct outcome *out)
{
	const struct envelope *envelope = &run->message->envelope;
	char words[OUTCOME_REPLY_MAX], age[16];

	settle_words(last, words, sizeof(words));
	(void)units_format_duration(
		(queue_wall_ms(run->queue) - envelope->received_ms) / 1000, age,
		sizeof(age));
	memset(out, 0, sizeof(*out));
	outcome_own(out, CAUSE_EXPIRED, last->phase,
		    "Not delivered within %s; the last attempt said: %s", age,
		    words);
	out->kind = OUTCOME_FAILED;
	memcpy(out->host, last->host, sizeof(out->host));
	memcpy(out->tls, last->tls, sizeof(out->tls));
	out->ip = last->ip;
	out->port = last->port;
	out->mx_ttl_s = last->mx_ttl_s;
	out->is_own_fault = last->is_own_fault;
}

static void
on_original(void *arg, int status, const uint8_t *bytes, size_t len)
{
	struct run *run = arg;

	run->read = NULL;
	if (status < 0) {
		/* a report without the original is better than none */
		log_damaged(run->leg->entry, uv_strerror(status));
		run_commit(run);
		return;
	}
	if (len > buf_room(&run->original))
		len = buf_room(&run->original);
	(void)buf_add(&run->original, bytes, len);
	if (len == 0 || buf_room(&run->original) == 0) {
		run_commit(run);
		return;
	}
	run->read = spool_read(run->queue->spool, run->leg->entry->id,
			       buf_len(&run->original),
			       buf_room(&run->original), on_original, run);
}

void
run_copy_outcomes(struct run *run, const struct outcome *outcomes)
{
	run->outcomes = mem_alloc(run->count * sizeof(*outcomes));
	memcpy(run->outcomes, outcomes, run->count * sizeof(*outcomes));
}

/* They are told of after the call that lent them. */
static void
run_keep_outcomes(struct run *run, const struct outcome *outcomes)
{
	if (outcomes != run->outcomes)
		run_copy_outcomes(run, outcomes);
	for (size_t i = 0; i < run->count; i++) {
		struct settlement *settled = &run->settled[i];

		if (settled->final == settled->outcome)
			settled->final = &run->outcomes[i];
		settled->outcome = &run->outcomes[i];
	}
}

/* Reports need the original: from memory, or read first. */
static void
run_fetch_original(struct run *run)
{
	uint64_t id = run->leg->entry->id;
	const uint8_t *body;
	size_t len;

	body = spool_body(run->queue->spool, id, &len);
	if (body == NULL) {
		run->read = spool_read(run->queue->spool, id, 0, ORIGINAL_MAX,
				       on_original, run);
		return;
	}
	(void)buf_add(&run->original, body,
		      len < ORIGINAL_MAX ? len : ORIGINAL_MAX);
	run_commit(run);
}

/* For the report of an expiry: was it the same each time? */
static void
run_look_back(struct run *run, const struct outcome *last,
	      struct settlement *settled)
{
	struct classification class;

	classify_outcome(run->queue->classifier, last, &class);
	settle_each_time(&run->message->envelope.recipients[settled->recipient],
			 &class, settled);
}

void
run_settle(struct run *run, const struct outcome *outcomes)
{
	struct queue *queue = run->queue;
	struct next_hop hop;
	struct settle_input input = {
		.envelope = &run->message->envelope,
		.is_local = run->is_local,
		.now_ms = queue_wall_ms(queue),
		.random = random_below(UINT32_MAX),
	};
	bool has_report = false, has_digest = false;

	/* no policy: an operator's order, which no host has a word in */
	if (run->policy != NULL)
		run_next_hop(run, run->policy, &hop);
	run->settled = mem_zalloc(run->count * sizeof(*run->settled));
	run->settled_count = run->count;
	for (size_t i = 0; i < run->count; i++) {
		struct settlement *settled = &run->settled[i];
		struct denied_verdict denied;

		input.recipient = run->recipients[i];
		input.outcome = &outcomes[i];
		input.denied = NULL;
		if (run->policy != NULL &&
		    run_is_denied(run, &hop, &outcomes[i])) {
			run_decide_denied(run, &hop, i, &denied);
			input.denied = &denied;
		}
		if (outcomes[i].cause == CAUSE_OPERATOR)
			settle_operator(&input, settled);
		else
			settle_decide(&queue->rules, &input, settled);
		if (settled->state == RCPT_EXPIRED) {
			if (run->finals == NULL)
				run->finals = mem_zalloc(run->count *
							 sizeof(*outcomes));
			outcome_expired(run, &outcomes[i], &run->finals[i]);
			settled->final = &run->finals[i];
			run_look_back(run, &outcomes[i], settled);
		}
		classify_outcome(queue->classifier, settled->final,
				 &settled->classification);
		run_advise(settled);
		has_report |= settled->has_report;
		has_digest |= settled->digest != DIGEST_NOTHING;
	}
	run_note_faults(run);
	if (has_report || has_digest)
		run_keep_outcomes(run, outcomes);
	if (has_report)
		run_fetch_original(run);
	else
		run_commit(run);
}

/* Only now a reader of the spool would see it. */
static void
on_saved(void *arg, int status)
{
	/* lost: it may be delivered twice after a crash, no more */
	message_unref(arg);
}

static void
write_state(struct run *run, const struct settlement *settled)
{
	const struct outcome *outcome = settled->outcome;
	char words[OUTCOME_REPLY_MAX], ip[IP_TEXT_MAX] = "", enhanced[12];
	struct attempt attempt = {
		.at_ms = queue_wall_ms(run->queue),
		.kind = outcome->kind,
		.cause = outcome->cause,
		.phase = outcome->phase,
		.code = outcome->status.code,
		.enhanced = status_enhanced(&outcome->status, enhanced),
		.host = outcome->host,
		.ip = ip,
		.tls = outcome->tls,
		.security = outcome->security,
		.port = outcome->port,
		.reply = words,
	};
	char note[DENIED_NOTE_MAX + 32];
	struct buf line;

	if (settled->is_denied) {
		(void)snprintf(note, sizeof(note), "%s: %s",
			       denied_cause_name(settled->denied.cause),
			       run->note);
		attempt.note = note;
	}
	settle_words(outcome, words, sizeof(words));
	if (outcome->ip.family != IP_NONE)
		(void)ip_format(&outcome->ip, ip);
	buf_init(&line, SIZE_MAX / 4);
	envelope_format_state(&run->message->envelope, (int)settled->recipient,
			      &attempt, &line);
	run->message->refs++;
	spool_state(run->queue->spool, run->leg->entry->id, buf_text(&line),
		    on_saved, run->message);
	buf_done(&line);
}

static void
count_settled(struct queue *queue, const struct settlement *settled)
{
	switch (settled->state) {
	case RCPT_DELIVERED:
		queue->delivered++;
		break;
	case RCPT_FAILED:
		queue->bounced++;
		break;
	case RCPT_EXPIRED:
		queue->expired++;
		break;
	case RCPT_QUEUED:
	case RCPT_HELD:
		queue->deferrals++;
		break;
	case RCPT_REMOVED:
		break;
	}
}

/* What the envelope says of its recipients now, to the disk. */
static void
run_write(struct run *run)
{
	struct queue *queue = run->queue;
	struct message *message = run->message;

	message->is_done = message_is_settled(message);
	if (message->is_done)
		spool_done(queue->spool, message->entry->id);
	else
		for (size_t i = 0; i < run->settled_count; i++)
			write_state(run, &run->settled[i]);
}

void
run_commit(struct run *run)
{
	struct queue *queue = run->queue;
	struct message *message = run->message;

	for (size_t i = 0; i < run->settled_count; i++) {
		struct settlement *settled = &run->settled[i];
		struct recipient *recipient =
			&message->envelope.recipients[settled->recipient];

		settle_apply(settled, recipient);
		/* the destination was down: nobody tried */
		if (settled->outcome->cause != CAUSE_OPERATOR &&
		    !run->is_unheard)
			recipient->last_attempt_ms = queue_wall_ms(queue);
		if (settled->state != RCPT_QUEUED)
			message->leg_of[settled->recipient] = NULL;
		run_log_settled(run, settled);
		count_settled(queue, settled);
		run_note_history(run, settled);
	}
	report_make(run);
	if (run->reports == NULL) {
		run_write(run);
		run_finish(run);
		return;
	}
	run->is_written = report_is_small(run);
	if (!run->is_written) {
		/* Too large for a batch: first the report, then what it tells
		 * of. A crash in between sends it twice; the other way round
		 * nobody would hear of it. */
		message->reports += (unsigned)run->reports_left;
		report_submit(run);
		return;
	}
	/* What is written comes first in the batch: when that fails, the spool
	 * has taken it back before a report is heard of. */
	spool_group_begin(queue->spool);
	run_write(run);
	message->reports += (unsigned)run->reports_left;
	report_submit(run);
	spool_group_end(queue->spool);
}

/* The disk did not take a report: its recipients are owed still. */
static void
run_revert(struct run *run, const struct report *report)
{
	struct message *message = run->message;
	uint64_t next_ms = queue_wall_ms(run->queue) + DISK_RETRY_MS;

	message->is_done = false;
	run->is_reverted = true;
	for (size_t i = 0; i < run->settled_count; i++) {
		const struct settlement *settled = &run->settled[i];
		struct recipient *recipient =
			&message->envelope.recipients[settled->recipient];

		if (!report_tells(report, settled))
			continue;
		if (settled->state == RCPT_DELIVERED)
			continue; /* it must not be delivered twice */
		recipient->state = RCPT_QUEUED;
		recipient->next_try_ms = next_ms;
		recipient->is_warned =
			recipient->is_warned && settled->report != DSN_DELAYED;
		message->leg_of[settled->recipient] = run->leg;
	}
}

void
run_report_done(struct run *run, const struct report *report, int status)
{
	if (status < 0) {
		run_revert(run, report);
		run->is_written = false; /* nothing of the batch was */
	}
	run->message->reports--;
	if (--run->reports_left != 0)
		return;
	if (!run->is_written)
		run_write(run);
	run_finish(run);
}

/* ------------------------------------------------------------- the end */

/* Why it waits, shared with what the destination says when that is alike. */
static void
leg_explain(struct leg *leg, const struct message *message)
{
	const struct recipient *recipient = NULL;
	struct reason *known =
		leg->destination != NULL ? leg->destination->last_error : NULL;
	enum category category;

	for (size_t i = 0; i < message->envelope.recipient_count; i++)
		if (message->leg_of[i] == leg) {
			recipient = &message->envelope.recipients[i];
			break;
		}
	if (recipient == NULL || recipient->last_reply == NULL)
		return;
	leg->category =
		recipient->category != NULL &&
				category_parse(recipient->category, &category)
			? (uint8_t)(category + 1)
			: 0;
	if (reason_is(leg->why, recipient->last_reply))
		return;
	reason_unref(leg->why);
	leg->why = reason_is(known, recipient->last_reply)
			   ? reason_ref(known)
			   : reason_new(recipient->last_reply);
}

static void
run_finish(struct run *run)
{
	struct queue *queue = run->queue;
	struct message *message = run->message;
	struct entry *entry = message->entry;
	struct leg *leg = run->leg;
	struct leg_sum sum;
	bool is_reverted = run->is_reverted;
	uint64_t postponed_ms = run->postponed_ms;

	run_free(run);
	if (message_is_settled(message)) {
		if (!message->is_done)
			spool_done(queue->spool, entry->id);
		entry_end(queue, entry);
	} else {
		leg_sum(message, leg, &sum);
		if (sum.recipients == 0) {
			leg_end(queue, leg);
		} else {
			leg->recipients = sum.recipients;
			leg->is_warned = sum.is_warned;
			leg_set_attempts(queue, leg, sum.attempts);
			queue_count_out(queue, entry);
			leg_explain(leg, message);
			queue_count_in(queue, entry);
			if (is_reverted && entry->is_bouncing)
				/* at once, the disk would refuse it again */
				schedule_wait(&queue->schedule, leg,
					      queue_boot_of(queue,
							    sum.next_ms));
			else
				leg_wait(queue, leg,
					 postponed_ms > sum.next_ms
						 ? postponed_ms
						 : sum.next_ms);
		}
	}
	message_unref(message);
	queue_kick(queue);
	queue_close_step(queue);
}
