/* SPDX-License-Identifier: ISC */
/*
 * What became of a recipient, for people who ask later: a line of the log, a
 * number, and a line of the history of failures.
 */
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/units.h"
#include "queue/core.h"

/* A failure that its sender could not be told of is none yet. */
static enum recipient_state
settlement_end(const struct settlement *settled)
{
	return settled->is_owed ? RCPT_QUEUED : settled->state;
}

/* ----------------------------------------------------------------- log */

static const char *
event_of(const struct settlement *settled)
{
	switch (settlement_end(settled)) {
	case RCPT_DELIVERED:
		return "delivered";
	case RCPT_EXPIRED:
		return "expired";
	case RCPT_FAILED:
		return "bounced";
	case RCPT_REMOVED:
		return "removed";
	case RCPT_QUEUED:
	case RCPT_HELD:
		break;
	}
	return "deferred";
}

static void
log_outcome(struct log_line *line, const struct outcome *outcome)
{
	char text[OUTCOME_REPLY_MAX], ip[IP_TEXT_MAX];

	if (outcome->host[0] != '\0')
		log_text(line, "host", outcome->host);
	if (outcome->ip.family != IP_NONE) {
		log_text(line, "ip", ip_format(&outcome->ip, ip));
		log_number(line, "port", outcome->port);
	}
	if (outcome->tls[0] != '\0')
		log_text(line, "tls", outcome->tls);
	if (outcome->security[0] != '\0')
		log_text(line, "security", outcome->security);
	if (outcome->policy_failure[0] != '\0')
		log_text(line, "policy_failure", outcome->policy_failure);
	if (outcome->mx_ttl_s >= 0)
		log_number(line, "ttl", outcome->mx_ttl_s);
	if (outcome->status.code != 0)
		log_number(line, "code", outcome->status.code);
	if (status_enhanced(&outcome->status, text)[0] != '\0')
		log_text(line, "status", text);
	settle_words(outcome, text, sizeof(text));
	if (text[0] != '\0')
		log_text(line, "reply", text);
}

static void
log_settled(const struct run *run, const struct settlement *settled)
{
	const struct envelope *envelope = &run->message->envelope;
	const struct recipient *recipient =
		&envelope->recipients[settled->recipient];
	const struct outcome *outcome = settled->outcome;
	uint64_t now_ms = queue_wall_ms(run->queue);
	enum category category = settled->classification.category;
	char id[SPOOL_ID_MAX], text[CLOCK_DATE_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, event_of(settled));
	if (!line.is_on)
		return;
	log_text(&line, "id", spool_id_format(envelope->id, id));
	log_text(&line, "from", envelope->sender);
	log_text(&line, "to", recipient->address);
	log_outcome(&line, outcome);
	if (outcome->kind != OUTCOME_DELIVERED) {
		log_text(&line, "category", category_name(category));
		log_text(&line, "rule", settled->classification.rule);
		if (category == CATEGORY_RELAYING_ISSUES)
			log_text(&line, "scenario",
				 policy_scenario_name(SCENARIO_REMOTE));
		if (outcome->is_own_fault)
			log_text(&line, "fault", "own");
	}
	if (settled->is_denied) {
		log_text(&line, "cause",
			 denied_cause_name(settled->denied.cause));
		log_text(&line, "evidence", run->note);
	}
	log_number(&line, "attempts", recipient->attempts);
	if (settled->next_try_ms != 0)
		log_text(&line, "next",
			 clock_format_rfc3339(settled->next_try_ms, text));
	if (now_ms >= envelope->received_ms)
		log_text(&line, "delay",
			 units_format_duration(
				 (now_ms - envelope->received_ms) / 1000, text,
				 sizeof(text)));
	log_end(&line);
}

void
log_damaged(const struct entry *entry, const char *why)
{
	char id[SPOOL_ID_MAX];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_ERROR, "spool");
	log_text(&line, "id", spool_id_format(entry->id, id));
	log_text(&line, "reason", why);
	log_end(&line);
}

/* ------------------------------------------------------------- history */

/* What is final, and what shows that an address is alive after all. */
static void
note_history(struct run *run, const struct settlement *settled)
{
	struct queue *queue = run->queue;
	const struct envelope *envelope = &run->message->envelope;
	const struct outcome *outcome = settled->outcome;
	struct str address =
		str_of(envelope->recipients[settled->recipient].address);
	char id[SPOOL_ID_MAX], ip[IP_TEXT_MAX] = "", enhanced[12];
	char words[OUTCOME_REPLY_MAX];
	struct record record = {
		.at_ms = queue_wall_ms(queue),
		.id = str_of(spool_id_format(envelope->id, id)),
		.sender = str_of(envelope->sender),
		.recipient = address,
		.category =
			str_of(category_name(settled->classification.category)),
		.rule = str_of(settled->classification.rule),
		.cause = str_of(cause_name(settled->final->cause)),
		.code = outcome->status.code,
		.enhanced = str_of(status_enhanced(&outcome->status, enhanced)),
		.host = str_of(outcome->host),
	};

	switch (settlement_end(settled)) {
	case RCPT_DELIVERED:
		if (!history_has(queue->history, address))
			return;
		record.kind = RECORD_DELIVERED;
		record.category = record.rule = str_from("", 0);
		break;
	case RCPT_FAILED:
		record.kind = RECORD_BOUNCED;
		break;
	case RCPT_EXPIRED:
		record.kind = RECORD_EXPIRED;
		break;
	case RCPT_QUEUED:
	case RCPT_HELD:
	case RCPT_REMOVED:
		return;
	}
	if (outcome->ip.family != IP_NONE)
		(void)ip_format(&outcome->ip, ip);
	record.ip = str_of(ip);
	settle_words(outcome, words, sizeof(words));
	record.words = str_of(words);
	history_add(queue->history, &record);
}

/* -------------------------------------------------------------- numbers */

static void
count_settled(struct queue *queue, const struct settlement *settled)
{
	switch (settlement_end(settled)) {
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

void
run_tell(struct run *run)
{
	for (size_t i = 0; i < run->settled_count; i++) {
		log_settled(run, &run->settled[i]);
		count_settled(run->queue, &run->settled[i]);
		note_history(run, &run->settled[i]);
	}
}
