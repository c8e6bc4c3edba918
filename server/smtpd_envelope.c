/* SPDX-License-Identifier: ISC */
#include "server/smtpd_internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "policy/caps.h"
#include "policy/policy.h"
#include "server/points_here.h"

/* A stranger's RCPT waits for DNS at most this long. */
#define SESSION_POINTS_MS 5000

/* ------------------------------------------------------------------- caps */

static void
session_caps(const struct smtpd_session *s, struct caps_rates *rates,
	     struct caps_sender *sender)
{
	smtpd_caps_rates(s->config, rates);
	sender->login = s->login;
	sender->client = s->ip;
}

static void
session_log_paused(struct smtpd_session *s)
{
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_WARN, "auth");
	log_text(&line, "result", "paused");
	log_textf(&line, "reason",
		  "this login asked for more than three times its cap within "
		  "an hour: was its password stolen? ostlerctl auth clear %s "
		  "lifts the pause",
		  s->login);
	log_end(&line);
}

/* False: over a cap; out says so. */
static bool
session_charge(struct smtpd_session *s, bool is_message,
	       struct caps_answer *out)
{
	struct caps_sender sender;
	struct caps_rates rates;

	session_caps(s, &rates, &sender);
	if (is_message)
		caps_message(s->smtpd->caps, &rates, &sender, clock_boot_ms(),
			     out);
	else
		caps_recipient(s->smtpd->caps, &rates, &sender, clock_boot_ms(),
			       out);
	if (out->is_paused_by_this)
		session_log_paused(s);
	if (!out->is_taken)
		s->smtpd->stats.over_caps++;
	return out->is_taken;
}

void
session_refund(struct smtpd_session *s)
{
	struct transaction *t = s->transaction;
	struct caps_sender sender;
	struct caps_rates rates;

	if (!t->is_charged)
		return;
	t->is_charged = false;
	session_caps(s, &rates, &sender);
	caps_give_back(s->smtpd->caps, &rates, &sender, t->charged_recipients);
}

/* ------------------------------------------------------------------- MAIL */

static enum smtpd_effect
session_refuse_sender(struct smtpd_session *s, const struct smtpd_env *env,
		      const struct addr *sender, const struct status *status,
		      const char *rule, struct buf *out)
{
	struct log_line line;
	char enhanced[12];

	s->smtpd->stats.rejected++;
	session_log(s, &line, LOG_LEVEL_INFO, "reject");
	log_text(&line, "from", sender->text);
	log_text(&line, "helo", s->proto.helo);
	log_number(&line, "code", status->code);
	log_text(&line, "status", status_enhanced(status, enhanced));
	log_text(&line, "rule", rule);
	log_text(&line, "reply", status->text);
	log_end(&line);
	return smtpd_proto_sender(&s->proto, env, status, out);
}

static void
session_begin_transaction(struct smtpd_session *s, const struct smtp_mail *mail)
{
	struct transaction *t = mem_zalloc(sizeof(*t));
	char ip[IP_TEXT_MAX];

	t->config = config_ref(s->config);
	t->sender = mail->sender;
	envelope_init(&t->envelope);
	t->envelope.sender = mem_strdup(mail->sender.text);
	t->envelope.listener = mem_strdup(session_listener(s)->name);
	t->envelope.client =
		mem_strdup(s->is_unix ? "unix" : ip_format(&s->ip, ip));
	t->envelope.helo = mem_strdup(s->proto.helo);
	t->envelope.login = mem_strdup(s->login);
	if (mail->envid[0] != '\0')
		t->envelope.envid = mem_strdup(mail->envid);
	t->envelope.ret = mail->ret;
	t->envelope.is_8bit = mail->body == SMTP_BODY_8BIT;
	t->envelope.is_utf8 = mail->is_utf8;
	s->transaction = t;
}

static void
session_log_mail(struct smtpd_session *s, const struct smtp_mail *mail)
{
	struct log_line line;

	if (!log_is_on(LOG_LEVEL_DEBUG))
		return;
	session_log(s, &line, LOG_LEVEL_DEBUG, "mail");
	log_text(&line, "from", mail->sender.text);
	log_text(&line, "helo", s->proto.helo);
	if (mail->has_size)
		log_number(&line, "size", (int64_t)mail->size);
	log_end(&line);
}

enum smtpd_effect
session_sender(struct smtpd_session *s, const struct smtpd_env *env,
	       struct smtp_mail *mail, struct buf *out)
{
	struct policy *policy = s->config->policy;
	struct policy_facts facts;
	struct verdict verdict;
	struct caps_answer charged;
	struct status refusal;

	if (!smtpd_can_accept(s->smtpd, &refusal))
		return session_refuse_sender(s, env, &mail->sender, &refusal,
					     "resources", out);
	/* RFC 6409, 6: only submission completes addresses */
	if (env->is_submission && mail->sender.text[0] != '\0' &&
	    mail->sender.domain_len == 0 &&
	    !addr_qualify(&mail->sender, policy_qualify(policy))) {
		status_set(&refusal, 501, "5.1.7", "Sender address too long");
		return session_refuse_sender(s, env, &mail->sender, &refusal,
					     "no-domain", out);
	}
	session_facts(s, &facts);
	facts.sender = &mail->sender;
	policy_decide_sender(policy, &facts, &verdict, NULL);
	if (!verdict.is_accepted)
		return session_refuse_sender(s, env, &mail->sender,
					     &verdict.status,
					     policy_rule_name(verdict.rule),
					     out);
	if (!session_charge(s, true, &charged))
		return session_refuse_sender(s, env, &mail->sender,
					     &charged.status, charged.rule,
					     out);
	session_begin_transaction(s, mail);
	s->transaction->is_charged = true;
	session_log_mail(s, mail);
	return smtpd_proto_sender(&s->proto, env, NULL, out);
}

/* ------------------------------------------------------------------- RCPT */

/* Recipients of one message behind all aliases: who names large aliases again
 * and again is stopped here. */
#define FINALS_MAX 50000

struct expansion {
	const struct hash_seed *seed;
	struct transaction *transaction;
	const struct smtp_rcpt *rcpt;
	size_t bytes; /* of the envelope's text, had nobody been named before */
};

static size_t
rcpt_bytes(const struct smtp_rcpt *rcpt, const struct addr *final)
{
	return envelope_recipient_bytes(final->text,
					rcpt->orcpt[0] != '\0' ? rcpt->orcpt
							       : NULL,
					rcpt->notify);
}

static void
on_final_measured(void *arg, const struct addr *final)
{
	struct expansion *expansion = arg;

	expansion->bytes += rcpt_bytes(expansion->rcpt, final);
}

/* Could the envelope be stored with this recipient too? */
static bool
session_has_room(const struct smtpd_session *s, const struct smtp_rcpt *rcpt,
		 struct status *refusal)
{
	const struct transaction *t = s->transaction;
	struct expansion expansion = {.rcpt = rcpt};

	if (t->finals < FINALS_MAX)
		policy_expand(t->config->policy, &rcpt->address,
			      on_final_measured, &expansion);
	if (expansion.bytes > ENVELOPE_RECIPIENTS_MAX) {
		/* not 552: RFC 5321, 4.5.3.1.10 has clients try that again */
		status_set(refusal, 550, "5.2.4",
			   "This address stands for more recipients than a "
			   "message can have");
		return false;
	}
	if (t->finals >= FINALS_MAX ||
	    t->final_bytes + expansion.bytes > ENVELOPE_RECIPIENTS_MAX) {
		status_set(refusal, 452, "4.5.3", "Too many recipients");
		return false;
	}
	return true;
}

/* Where the address is in the table of those seen, or would be. */
static uint32_t *
transaction_slot(const struct transaction *t, const struct hash_seed *seed,
		 const char *address)
{
	size_t mask = t->seen_slots - 1;
	size_t at = (size_t)hash_bytes(seed, address, strlen(address)) & mask;

	while (t->seen[at] != 0 &&
	       strcmp(t->envelope.recipients[t->seen[at] - 1].address,
		      address) != 0)
		at = (at + 1) & mask;
	return &t->seen[at];
}

/* At most half full after one more. */
static void
transaction_grow_seen(struct transaction *t, const struct hash_seed *seed)
{
	if ((t->envelope.recipient_count + 1) * 2 <= t->seen_slots)
		return;
	t->seen_slots = t->seen_slots != 0 ? t->seen_slots * 4 : 16;
	free(t->seen);
	t->seen = mem_zalloc(t->seen_slots * sizeof(*t->seen));
	for (size_t i = 0; i < t->envelope.recipient_count; i++)
		*transaction_slot(t, seed, t->envelope.recipients[i].address) =
			(uint32_t)(i + 1);
}

static void
on_final_recipient(void *arg, const struct addr *final)
{
	struct expansion *expansion = arg;
	struct transaction *t = expansion->transaction;
	const char *orcpt = expansion->rcpt->orcpt;
	struct recipient *recipient;
	uint32_t *slot;

	t->finals++;
	transaction_grow_seen(t, expansion->seed);
	slot = transaction_slot(t, expansion->seed, final->text);
	if (*slot != 0)
		return; /* an alias may lead to somebody named before */
	recipient = envelope_add(&t->envelope, final->text);
	*slot = (uint32_t)t->envelope.recipient_count;
	recipient->notify = expansion->rcpt->notify;
	if (orcpt[0] != '\0')
		recipient->orcpt = mem_strdup(orcpt);
	t->final_bytes += rcpt_bytes(expansion->rcpt, final);
}

static enum smtpd_effect
session_refuse_recipient(struct smtpd_session *s, const struct smtpd_env *env,
			 const struct smtp_rcpt *rcpt,
			 const struct status *status, const char *rule,
			 enum policy_scenario scenario, struct buf *out)
{
	s->smtpd->stats.rejected++;
	session_log_reject(s, &rcpt->address, status, rule, scenario);
	return smtpd_proto_recipient(&s->proto, env, status, NULL, out);
}

static enum smtpd_effect
session_take_recipient(struct smtpd_session *s, const struct smtpd_env *env,
		       const struct smtp_rcpt *rcpt,
		       const struct verdict *verdict, struct buf *out)
{
	struct transaction *t = s->transaction;
	struct expansion expansion = {
		.seed = &s->smtpd->seed,
		.transaction = t,
		.rcpt = rcpt,
	};
	struct caps_answer charged;
	struct status refusal;

	if (!session_has_room(s, rcpt, &refusal))
		return session_refuse_recipient(s, env, rcpt, &refusal,
						"recipients", SCENARIO_NONE,
						out);
	if (!session_charge(s, false, &charged))
		return session_refuse_recipient(s, env, rcpt, &charged.status,
						charged.rule, SCENARIO_NONE,
						out);
	t->charged_recipients++;
	s->smtpd->stats.recipients++;
	policy_expand(t->config->policy, &rcpt->address, on_final_recipient,
		      &expansion);
	if (log_is_on(LOG_LEVEL_DEBUG)) {
		struct log_line line;

		session_log(s, &line, LOG_LEVEL_DEBUG, "rcpt");
		log_text(&line, "from", t->sender.text);
		log_text(&line, "to", rcpt->address.text);
		log_text(&line, "rule", policy_rule_name(verdict->rule));
		log_end(&line);
	}
	return smtpd_proto_recipient(&s->proto, env, NULL, rcpt->address.text,
				     out);
}

static enum smtpd_effect
session_settle_recipient(struct smtpd_session *s, const struct smtpd_env *env,
			 const struct smtp_rcpt *rcpt,
			 const struct verdict *verdict, struct buf *out)
{
	struct smtpd_stats *stats = &s->smtpd->stats;

	if (verdict->is_accepted)
		return session_take_recipient(s, env, rcpt, verdict, out);
	if (verdict->rule == RULE_RELAY_DENIED ||
	    verdict->rule == RULE_MX_POINTS_HERE)
		stats->relay_denied++;
	if (verdict->rule == RULE_MX_POINTS_HERE)
		stats->points_here++;
	return session_refuse_recipient(s, env, rcpt, &verdict->status,
					policy_rule_name(verdict->rule),
					verdict->scenario, out);
}

static void
session_recipient_facts(const struct smtpd_session *s,
			const struct smtp_rcpt *rcpt,
			struct policy_facts *facts)
{
	session_facts(s, facts);
	facts->sender = &s->transaction->sender;
	facts->recipient = &rcpt->address;
}

/* DNS has said where the domain of the pending recipient points, or not. */
static void
session_decide_pending(struct smtpd_session *s, enum policy_points_here here,
		       bool is_too_long)
{
	struct smtp_rcpt *rcpt = s->pending;
	struct policy_facts facts;
	struct verdict verdict;
	struct smtpd_env env;
	enum smtpd_effect effect;

	s->pending = NULL;
	session_recipient_facts(s, rcpt, &facts);
	facts.points_here = here;
	facts.points_here_too_long = is_too_long;
	policy_decide(s->transaction->config->policy, &facts, &verdict, NULL);
	session_env(s, &env);
	effect = session_settle_recipient(s, &env, rcpt, &verdict,
					  &s->smtpd->reply);
	free(rcpt);
	session_resume(s, effect);
}

static void
session_log_points_here(struct smtpd_session *s, struct str domain)
{
	struct log_line line;

	session_log(s, &line, LOG_LEVEL_WARN, "config");
	log_str(&line, "domain", domain);
	log_textf(
		&line, "reason",
		"the MX of %.*s names this host, but %.*s is not configured; "
		"only if you host %.*s: domain \"%.*s\" { deliver = \"...\" }",
		STR_ARG(domain), STR_ARG(domain), STR_ARG(domain),
		STR_ARG(domain));
	log_end(&line);
}

static void
on_points(void *owner, const struct points_here_answer *answer)
{
	struct smtpd_session *s = owner;

	s->points = NULL;
	if (answer->is_news)
		session_log_points_here(s, addr_domain(&s->pending->address));
	session_decide_pending(s, answer->points_here, answer->is_too_long);
}

void
session_points_late(struct smtpd_session *s)
{
	points_here_cancel(s->points);
	s->points = NULL;
	session_decide_pending(s, POINTS_UNKNOWN, false);
}

static enum smtpd_effect
session_ask_points(struct smtpd_session *s, const struct smtp_rcpt *rcpt)
{
	struct str domain = addr_domain(&rcpt->address);
	char name[ADDR_DOMAIN_MAX + 1];

	s->pending = mem_alloc(sizeof(*s->pending));
	*s->pending = *rcpt;
	(void)str_copy(name, sizeof(name), domain); /* it was parsed: it fits */
	session_wait(s, WAIT_DNS, SESSION_POINTS_MS);
	s->points =
		points_here_ask(s->smtpd->points_here, &s->ip, name,
				s->transaction->config->hostname, on_points, s);
	return SMTPD_DO_NOTHING;
}

enum smtpd_effect
session_recipient(struct smtpd_session *s, const struct smtpd_env *env,
		  struct smtp_rcpt *rcpt, struct buf *out)
{
	struct policy *policy = s->transaction->config->policy;
	struct policy_facts facts;
	struct verdict verdict;

	if (rcpt->address.domain_len == 0 && env->is_submission)
		(void)addr_qualify(&rcpt->address, policy_qualify(policy));
	session_recipient_facts(s, rcpt, &facts);
	policy_decide(policy, &facts, &verdict, NULL);
	if (verdict.rule == RULE_RELAY_DENIED &&
	    policy_wants_points_here(policy, &facts))
		return session_ask_points(s, rcpt);
	return session_settle_recipient(s, env, rcpt, &verdict, out);
}
