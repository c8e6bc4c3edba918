/* SPDX-License-Identifier: ISC */
#include "server/smtpd_internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/mem.h"
#include "policy/policy.h"

/* Can mail be taken at all? Fills the refusal when not. */
static bool
session_can_accept(struct smtpd_session *s, struct status *refusal)
{
	if (s->smtpd->is_draining) {
		status_set(refusal, 421, "4.3.2", "%s is shutting down",
			   s->config->hostname);
		return false;
	}
	switch (queue_accepting(s->smtpd->queue)) {
	case QUEUE_ACCEPTS:
		return true;
	case QUEUE_SHORT:
		status_set(refusal, 452, "4.3.1",
			   "Insufficient system storage, try again later");
		return false;
	case QUEUE_BROKEN:
		break;
	}
	status_set(refusal, 421, "4.3.0", "%s cannot take mail now",
		   s->config->hostname);
	return false;
}

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

enum smtpd_effect
session_sender(struct smtpd_session *s, const struct smtpd_env *env,
	       struct smtp_mail *mail, struct buf *out)
{
	struct policy *policy = s->config->policy;
	struct policy_facts facts;
	struct verdict verdict;
	struct status refusal;

	if (!session_can_accept(s, &refusal))
		return session_refuse_sender(s, env, &mail->sender, &refusal,
					     "resources", out);
	/* RFC 6409, 6: only submission completes addresses */
	if (mail->sender.text[0] != '\0' && mail->sender.domain_len == 0 &&
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
	session_begin_transaction(s, mail);
	return smtpd_proto_sender(&s->proto, env, NULL, out);
}

/* Recipients of one message behind all aliases, and the text that they take
 * in the spool: who names large aliases again and again is stopped here. */
#define FINALS_MAX	50000
#define FINAL_BYTES_MAX ((size_t)1 << 20)

struct expansion {
	const struct hash_seed *seed;
	struct transaction *transaction;
	const struct smtp_rcpt *rcpt;
};

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
	t->final_bytes += strlen(final->text) + strlen(orcpt);
}

enum smtpd_effect
session_recipient(struct smtpd_session *s, const struct smtpd_env *env,
		  struct smtp_rcpt *rcpt, struct buf *out)
{
	struct transaction *t = s->transaction;
	struct policy *policy = t->config->policy;
	struct expansion expansion = {&s->smtpd->seed, t, rcpt};
	struct policy_facts facts;
	struct verdict verdict;

	if (rcpt->address.domain_len == 0 && env->is_submission)
		(void)addr_qualify(&rcpt->address, policy_qualify(policy));
	session_facts(s, &facts);
	facts.sender = &t->sender;
	facts.recipient = &rcpt->address;
	policy_decide(policy, &facts, &verdict, NULL);
	if (!verdict.is_accepted) {
		s->smtpd->stats.rejected++;
		if (verdict.rule == RULE_RELAY_DENIED ||
		    verdict.rule == RULE_MX_POINTS_HERE)
			s->smtpd->stats.relay_denied++;
		session_log_reject(s, &rcpt->address, &verdict.status,
				   policy_rule_name(verdict.rule),
				   verdict.scenario);
		return smtpd_proto_recipient(&s->proto, env, &verdict.status,
					     NULL, out);
	}
	if (t->finals >= FINALS_MAX || t->final_bytes >= FINAL_BYTES_MAX) {
		struct status refusal;

		status_set(&refusal, 452, "4.5.3", "Too many recipients");
		return smtpd_proto_recipient(&s->proto, env, &refusal, NULL,
					     out);
	}
	s->smtpd->stats.recipients++;
	policy_expand(policy, &rcpt->address, on_final_recipient, &expansion);
	if (log_is_on(LOG_LEVEL_DEBUG)) {
		struct log_line line;

		session_log(s, &line, LOG_LEVEL_DEBUG, "rcpt");
		log_text(&line, "from", t->sender.text);
		log_text(&line, "to", rcpt->address.text);
		log_text(&line, "rule", policy_rule_name(verdict.rule));
		log_end(&line);
	}
	return smtpd_proto_recipient(&s->proto, env, NULL, rcpt->address.text,
				     out);
}
