/* SPDX-License-Identifier: ISC */
/*
 * From outcomes to the end of a run: what they mean is decided, reports are
 * made, all of it becomes durable, and the leg goes back to wait or ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/random.h"
#include "lib/units.h"
#include "queue/core.h"

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

/* The original is there (or not): outcomes become durable. */
static void run_commit(struct run *run);

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
format_state(const struct run *run, const struct settlement *settled,
	     uint64_t now_ms, struct buf *out)
{
	const struct outcome *outcome = settled->outcome;
	char words[OUTCOME_REPLY_MAX], ip[IP_TEXT_MAX] = "", enhanced[12];
	struct attempt attempt = {
		.at_ms = now_ms,
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

	if (settled->is_denied) {
		(void)snprintf(note, sizeof(note), "%s: %s",
			       denied_cause_name(settled->denied.cause),
			       run->note);
		attempt.note = note;
	}
	settle_words(outcome, words, sizeof(words));
	if (outcome->ip.family != IP_NONE)
		(void)ip_format(&outcome->ip, ip);
	envelope_format_state(&run->message->envelope, (int)settled->recipient,
			      &attempt, out);
}

static void
write_state(struct run *run, struct buf *line)
{
	run->message->refs++;
	spool_state(run->queue->spool, run->leg->entry->id, buf_text(line),
		    on_saved, run->message);
	buf_clear(line);
}

/* Recipients of whom the same is to be said have one line: of a list whose
 * next hop is down there are tens of thousands, at each attempt. */
static void
write_states(struct run *run)
{
	uint64_t now_ms = queue_wall_ms(run->queue);
	struct buf line, next;

	buf_init(&line, SIZE_MAX / 4);
	buf_init(&next, SIZE_MAX / 4);
	for (size_t i = 0; i < run->settled_count; i++) {
		struct buf other;

		format_state(run, &run->settled[i], now_ms, &next);
		if (buf_len(&line) != 0 &&
		    !envelope_join_states(&line, buf_text(&next)))
			write_state(run, &line);
		if (buf_len(&line) == 0) {
			other = line;
			line = next;
			next = other;
		}
		buf_clear(&next);
	}
	if (buf_len(&line) != 0)
		write_state(run, &line);
	buf_done(&line);
	buf_done(&next);
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
		write_states(run);
}

static void
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
	}
	report_make(run);
	if (run->reports == NULL) {
		run_tell(run);
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
		struct settlement *settled = &run->settled[i];
		struct recipient *recipient =
			&message->envelope.recipients[settled->recipient];

		if (!report_tells(report, settled))
			continue;
		if (settled->state == RCPT_DELIVERED)
			continue; /* it must not be delivered twice */
		settled->is_owed = true;
		settled->next_try_ms = next_ms;
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
	run_tell(run);
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

void
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
			leg_take_sum(queue, leg, &sum);
			queue_count_out(queue, entry);
			leg_explain(leg, message);
			queue_count_in(queue, entry);
			if (is_reverted)
				leg_wait_for_disk(queue, leg, sum.next_ms);
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
