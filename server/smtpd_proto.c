/* SPDX-License-Identifier: ISC */
#include "server/smtpd_proto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/wire/smtp_reply.h"

#define SMTPD_EXTENSIONS                                                       \
	(SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8 | SMTP_EXT_DSN)

/* What a BDAT is refused with, once its chunk was read. */
struct smtpd_refusal {
	unsigned code;
	const char *enhanced, *text;
};

void
smtpd_proto_init(struct smtpd_proto *proto)
{
	memset(proto, 0, sizeof(*proto));
}

void
smtpd_proto_done(struct smtpd_proto *proto)
{
	free(proto->helo);
	proto->helo = NULL;
}

/* -------------------------------------------------------------- replies */

/* Cannot fail: the caller leaves room for it. */
static void
proto_write(const struct smtpd_proto *proto, struct buf *out,
	    const struct status *status)
{
	/* RFC 6531, 3.7.4.2: UTF-8 in replies only once it was asked for */
	smtp_reply_add(out, status, proto->is_utf8);
}

/* A reply to a command; those that refuse are counted. */
static enum smtpd_effect
proto_status(struct smtpd_proto *proto, const struct smtpd_env *env,
	     const struct status *status, struct buf *out)
{
	if (status->code == 421) {
		proto_write(proto, out, status);
		proto->state = SMTPD_ENDED;
		return SMTPD_DO_CLOSE;
	}
	if (status->code >= 400 && ++proto->errors >= env->errors)
		return smtpd_proto_goodbye(proto, env, "4.7.0",
					   "Too many errors", out);
	proto_write(proto, out, status);
	return SMTPD_DO_NOTHING;
}

static enum smtpd_effect
proto_reply(struct smtpd_proto *proto, const struct smtpd_env *env,
	    struct buf *out, unsigned code, const char *enhanced,
	    const char *text)
{
	struct status status;

	status_set(&status, code, enhanced, "%s", text);
	return proto_status(proto, env, &status, out);
}

enum smtpd_effect
smtpd_proto_goodbye(struct smtpd_proto *proto, const struct smtpd_env *env,
		    const char *enhanced, const char *text, struct buf *out)
{
	struct status status;

	status_set(&status, 421, enhanced, "%s %s, closing connection",
		   env->hostname, text);
	proto_write(proto, out, &status);
	proto->state = SMTPD_ENDED;
	return SMTPD_DO_CLOSE;
}

enum smtpd_effect
smtpd_proto_greet(struct smtpd_proto *proto, const struct smtpd_env *env,
		  bool is_accepting, struct buf *out)
{
	if (!is_accepting)
		return smtpd_proto_goodbye(proto, env, "4.3.0",
					   "Cannot take mail now", out);
	(void)buf_addf(out, "220 %s ESMTP ostler\r\n", env->hostname);
	return SMTPD_DO_NOTHING;
}

enum smtp_cmd_mode
smtpd_proto_mode(const struct smtpd_proto *proto)
{
	return proto->state == SMTPD_AUTH ? SMTP_CMD_AUTH_LINES
					  : SMTP_CMD_COMMANDS;
}

/* ------------------------------------------------------------- commands */

static void
proto_forget_transaction(struct smtpd_proto *proto)
{
	proto->recipients = 0;
	proto->is_utf8 = false;
	proto->content_bytes = 0;
	switch (proto->state) {
	case SMTPD_MAIL:
	case SMTPD_RCPT:
	case SMTPD_CONTENT:
	case SMTPD_CHUNK:
	case SMTPD_BETWEEN:
		proto->state = SMTPD_READY;
		break;
	case SMTPD_FRESH:
	case SMTPD_READY:
	case SMTPD_AUTH:
	case SMTPD_SKIP:
	case SMTPD_ENDED:
		break;
	}
}

/*
 * RFC 3207, 4.2: what was said in the clear is forgotten, a login as well; a
 * stranger in between could log in as himself and have others send as him.
 * So there is no TLS behind a login.
 */
static bool
proto_offers_tls(const struct smtpd_proto *proto, const struct smtpd_env *env)
{
	return env->offers_tls && !proto->is_authenticated;
}

static bool
proto_offers_auth(const struct smtpd_proto *proto, const struct smtpd_env *env)
{
	return env->is_submission && !proto->is_authenticated &&
	       env->mechanisms[0] != '\0';
}

static void
proto_write_ehlo(struct smtpd_proto *proto, const struct smtpd_env *env,
		 struct buf *out)
{
	(void)buf_addf(out, "250-%s\r\n250-PIPELINING\r\n", env->hostname);
	(void)buf_addf(out, "250-SIZE %llu\r\n",
		       (unsigned long long)env->message_size);
	if (proto_offers_tls(proto, env))
		(void)buf_adds(out, "250-STARTTLS\r\n");
	if (proto_offers_auth(proto, env))
		(void)buf_addf(out, "250-AUTH %s\r\n", env->mechanisms);
	(void)buf_adds(out, "250-8BITMIME\r\n"
			    "250-SMTPUTF8\r\n"
			    "250-DSN\r\n"
			    "250-CHUNKING\r\n");
	(void)buf_addf(out,
		       "250-LIMITS RCPTMAX=%u\r\n"
		       "250 ENHANCEDSTATUSCODES\r\n",
		       env->recipients);
}

/* RFC 5321, 4.1.4: EHLO in a session acts as RSET */
static enum smtpd_effect
proto_helo(struct smtpd_proto *proto, const struct smtpd_env *env,
	   bool is_esmtp, struct str arg, struct buf *out)
{
	struct smtp_helo helo;
	struct status status;

	if (!smtp_args_helo(arg, &helo, &status))
		return proto_status(proto, env, &status, out);
	proto_forget_transaction(proto);
	proto->state = SMTPD_READY;
	proto->is_esmtp = is_esmtp;
	free(proto->helo);
	proto->helo = mem_strdup(helo.name);
	if (is_esmtp)
		proto_write_ehlo(proto, env, out);
	else
		(void)buf_addf(out, "250 %s\r\n", env->hostname);
	return SMTPD_DO_RESET;
}

/* Strangers keep to the grammar: what is unclear may mean something else to
 * the server behind us. To appliances of our own it costs mail. An address
 * without a domain is policy's to refuse or qualify. */
static unsigned
proto_args_flags(const struct smtpd_proto *proto, const struct smtpd_env *env)
{
	bool is_known = proto->is_authenticated || env->is_trusted;

	return SMTP_ARGS_NO_DOMAIN | (is_known ? SMTP_ARGS_LENIENT : 0u) |
	       (proto->is_utf8 ? SMTP_ARGS_UTF8 : 0u);
}

static enum smtpd_effect
proto_mail(struct smtpd_proto *proto, const struct smtpd_env *env,
	   struct str arg, struct buf *out, struct smtpd_ask *ask)
{
	unsigned ext = proto->is_esmtp ? SMTPD_EXTENSIONS : 0;
	struct status status;

	if (proto->is_authenticated || env->is_submission)
		ext |= SMTP_EXT_AUTH;
	if (proto->state == SMTPD_FRESH)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "Say EHLO first");
	if (proto->state != SMTPD_READY)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "MAIL was given already");
	if (!smtp_args_mail(arg, ext, proto_args_flags(proto, env), &ask->mail,
			    &status))
		return proto_status(proto, env, &status, out);
	if (ask->mail.has_size && env->message_size != 0 &&
	    ask->mail.size > env->message_size) {
		status_set(&status, 552, "5.3.4",
			   "Message too big: at most %llu octets are taken",
			   (unsigned long long)env->message_size);
		return proto_status(proto, env, &status, out);
	}
	proto->is_utf8 = ask->mail.is_utf8;
	return SMTPD_DO_DECIDE_SENDER;
}

static enum smtpd_effect
proto_rcpt(struct smtpd_proto *proto, const struct smtpd_env *env,
	   struct str arg, struct buf *out, struct smtpd_ask *ask)
{
	unsigned ext = proto->is_esmtp ? SMTPD_EXTENSIONS : 0;
	struct status status;

	if (proto->state == SMTPD_BETWEEN)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "RCPT comes before BDAT");
	if (proto->state != SMTPD_MAIL && proto->state != SMTPD_RCPT)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "MAIL comes before RCPT");
	if (proto->recipients >= env->recipients)
		return proto_reply(proto, env, out, 452, "4.5.3",
				   "Too many recipients");
	if (!smtp_args_rcpt(arg, ext, proto_args_flags(proto, env), &ask->rcpt,
			    &status))
		return proto_status(proto, env, &status, out);
	return SMTPD_DO_DECIDE_RCPT;
}

static enum smtpd_effect
proto_data(struct smtpd_proto *proto, const struct smtpd_env *env,
	   struct str arg, struct buf *out)
{
	struct status status;

	if (proto->state == SMTPD_MAIL)
		return proto_reply(proto, env, out, 554, "5.5.1",
				   "No valid recipients");
	/* RFC 3030, section 3: one message comes one way */
	if (proto->state == SMTPD_BETWEEN)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "The message began with BDAT");
	if (proto->state != SMTPD_RCPT)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "RCPT comes before DATA");
	if (!smtp_args_none(arg, &status))
		return proto_status(proto, env, &status, out);
	proto->state = SMTPD_CONTENT;
	(void)buf_adds(out, "354 End data with <CR><LF>.<CR><LF>\r\n");
	return SMTPD_DO_CONTENT;
}

/* Why this BDAT cannot be taken; NULL: it can. */
static const struct smtpd_refusal *
proto_refuse_chunk(const struct smtpd_proto *proto, const struct smtpd_env *env)
{
	static const struct smtpd_refusal too_early = {503, "5.5.1",
						       "Say EHLO first"};
	static const struct smtpd_refusal no_mail = {503, "5.5.1",
						     "RCPT comes before BDAT"};
	static const struct smtpd_refusal no_recipient = {
		554, "5.5.1", "No valid recipients"};
	static const struct smtpd_refusal too_big = {552, "5.3.4",
						     "Message too big"};

	if (!proto->is_esmtp)
		return &too_early;
	if (proto->state == SMTPD_MAIL)
		return &no_recipient;
	if (proto->state != SMTPD_RCPT && proto->state != SMTPD_BETWEEN)
		return &no_mail;
	if (env->message_size != 0 &&
	    proto->chunk_size > env->message_size - proto->content_bytes)
		return &too_big;
	return NULL;
}

/* RFC 3030, section 2 */
static enum smtpd_effect
proto_bdat(struct smtpd_proto *proto, const struct smtpd_env *env,
	   struct str arg, struct buf *out)
{
	struct smtp_bdat bdat;
	struct status status;

	if (!smtp_args_bdat(arg, &bdat, &status)) {
		/* where its octets end is not known, and none of them may be
		 * read as a command */
		status_set(&status, 501, "5.5.4",
			   "Syntax: BDAT size [LAST]; closing connection");
		proto_write(proto, out, &status);
		proto->state = SMTPD_ENDED;
		return SMTPD_DO_CLOSE;
	}
	proto->chunk_size = bdat.size;
	proto->chunk_left = bdat.size;
	proto->is_last_chunk = bdat.is_last;
	proto->refusal = proto_refuse_chunk(proto, env);
	if (proto->refusal == NULL) {
		proto->content_bytes += bdat.size;
		proto->state = SMTPD_CHUNK;
		return SMTPD_DO_CHUNK;
	}
	/* what is left of a message when a chunk failed is nothing: the chunks
	 * in the pipeline behind it are out of order, or it would be taken
	 * without its beginning */
	if (proto->state == SMTPD_RCPT || proto->state == SMTPD_BETWEEN ||
	    (proto->state == SMTPD_MAIL && !bdat.is_last))
		proto_forget_transaction(proto);
	proto->after_skip = proto->state;
	proto->state = SMTPD_SKIP;
	if (proto->after_skip == SMTPD_READY)
		return SMTPD_DO_RESET;
	return SMTPD_DO_NOTHING;
}

size_t
smtpd_proto_chunk(struct smtpd_proto *proto, size_t len)
{
	if (len > proto->chunk_left)
		len = (size_t)proto->chunk_left;
	proto->chunk_left -= len;
	return len;
}

enum smtpd_effect
smtpd_proto_chunk_end(struct smtpd_proto *proto, const struct smtpd_env *env,
		      struct buf *out)
{
	const struct smtpd_refusal *refusal = proto->refusal;
	struct status status;

	if (proto->state == SMTPD_SKIP) {
		proto->state = proto->after_skip;
		return proto_reply(proto, env, out, refusal->code,
				   refusal->enhanced, refusal->text);
	}
	if (proto->is_last_chunk)
		return SMTPD_DO_SAVE;
	proto->state = SMTPD_BETWEEN;
	status_set(&status, 250, "2.0.0", "%llu octets received",
		   (unsigned long long)proto->chunk_size);
	return proto_status(proto, env, &status, out);
}

/* "SCRAM-SHA-256" in "PLAIN SCRAM-SHA-256 LOGIN" */
static bool
proto_lists(const char *mechanisms, const char *wanted)
{
	struct str rest = str_of(mechanisms), one;

	while (str_cut(&rest, ' ', &one))
		if (str_is_nocase(one, wanted))
			return true;
	return false;
}

/* RFC 4954, section 4 */
static enum smtpd_effect
proto_auth_command(struct smtpd_proto *proto, const struct smtpd_env *env,
		   struct str arg, struct buf *out, struct smtpd_ask *ask)
{
	struct status status;

	if (!env->is_submission)
		return proto_reply(proto, env, out, 502, "5.5.1",
				   "No logins here: use the submission port");
	if (!proto->is_esmtp)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "Say EHLO first");
	if (proto->is_authenticated)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "Already logged in");
	if (proto->state != SMTPD_READY)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "Not within a transaction");
	if (!smtp_args_auth(arg, &ask->auth, &status))
		return proto_status(proto, env, &status, out);
	if (!proto_lists(env->mechanisms, ask->auth.mechanism)) {
		if (proto_lists(env->mechanisms_under_tls, ask->auth.mechanism))
			return proto_reply(proto, env, out, 538, "5.7.11",
					   "Encryption required for requested "
					   "authentication mechanism");
		return proto_reply(proto, env, out, 504, "5.5.4",
				   "Authentication mechanism not known");
	}
	proto->before_auth = proto->state;
	proto->state = SMTPD_AUTH;
	return SMTPD_DO_AUTH_BEGIN;
}

static enum smtpd_effect
proto_auth_line(struct smtpd_proto *proto, const struct smtpd_env *env,
		const struct smtp_cmd_event *event, struct buf *out,
		struct smtpd_ask *ask)
{
	if (str_is(event->arg, "*")) {
		proto->state = proto->before_auth;
		(void)proto_reply(proto, env, out, 501, "5.7.0",
				  "Authentication cancelled");
		return proto->state == SMTPD_ENDED ? SMTPD_DO_CLOSE
						   : SMTPD_DO_AUTH_CANCEL;
	}
	ask->line = event->arg;
	return SMTPD_DO_AUTH_STEP;
}

static enum smtpd_effect
proto_starttls(struct smtpd_proto *proto, const struct smtpd_env *env,
	       struct str arg, struct buf *out)
{
	struct status status;

	if (!env->offers_tls)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   env->is_secure ? "TLS is on already"
						  : "No TLS here");
	if (proto->is_authenticated)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "Log in behind STARTTLS, not before it");
	if (proto->state != SMTPD_READY && proto->state != SMTPD_FRESH)
		return proto_reply(proto, env, out, 503, "5.5.1",
				   "Not within a transaction");
	if (!smtp_args_none(arg, &status))
		return proto_status(proto, env, &status, out);
	(void)buf_adds(out, "220 2.0.0 Ready to start TLS\r\n");
	return SMTPD_DO_TLS;
}

static enum smtpd_effect
proto_rset(struct smtpd_proto *proto, const struct smtpd_env *env,
	   struct str arg, struct buf *out)
{
	struct status status;

	if (!smtp_args_none(arg, &status))
		return proto_status(proto, env, &status, out);
	proto_forget_transaction(proto);
	(void)buf_adds(out, "250 2.0.0 Ok\r\n");
	return SMTPD_DO_RESET;
}

static enum smtpd_effect
proto_vrfy(struct smtpd_proto *proto, const struct smtpd_env *env,
	   struct str arg, struct buf *out)
{
	struct status status;
	struct addr addr;

	if (!smtp_args_vrfy(arg, SMTPD_EXTENSIONS, &addr, &status))
		return proto_status(proto, env, &status, out);
	/* RFC 5321, 3.5.3: neither confirm nor deny who has a mailbox */
	return proto_reply(proto, env, out, 252, "2.5.0",
			   "Not told here: try RCPT");
}

static enum smtpd_effect
proto_command(struct smtpd_proto *proto, const struct smtpd_env *env,
	      const struct smtp_cmd_event *event, struct buf *out,
	      struct smtpd_ask *ask)
{
	switch (event->verb) {
	case SMTP_EHLO:
		return proto_helo(proto, env, true, event->arg, out);
	case SMTP_HELO:
		return proto_helo(proto, env, false, event->arg, out);
	case SMTP_MAIL:
		return proto_mail(proto, env, event->arg, out, ask);
	case SMTP_RCPT:
		return proto_rcpt(proto, env, event->arg, out, ask);
	case SMTP_DATA:
		return proto_data(proto, env, event->arg, out);
	case SMTP_RSET:
		return proto_rset(proto, env, event->arg, out);
	case SMTP_NOOP:
		return proto_reply(proto, env, out, 250, "2.0.0", "Ok");
	case SMTP_QUIT:
		(void)proto_reply(proto, env, out, 221, "2.0.0", "Bye");
		proto->state = SMTPD_ENDED;
		return SMTPD_DO_CLOSE;
	case SMTP_VRFY:
		return proto_vrfy(proto, env, event->arg, out);
	case SMTP_HELP:
		return proto_reply(proto, env, out, 214, "2.0.0",
				   "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP "
				   "QUIT VRFY HELP STARTTLS AUTH; see RFC "
				   "5321");
	case SMTP_STARTTLS:
		return proto_starttls(proto, env, event->arg, out);
	case SMTP_AUTH:
		return proto_auth_command(proto, env, event->arg, out, ask);
	case SMTP_BDAT:
		return proto_bdat(proto, env, event->arg, out);
	case SMTP_EXPN:
	case SMTP_LHLO:
		return proto_reply(proto, env, out, 502, "5.5.1",
				   "Command not implemented");
	case SMTP_FOREIGN:
		return smtpd_proto_goodbye(proto, env, "4.7.0",
					   "This is a mail server", out);
	case SMTP_UNKNOWN:
		break;
	}
	return proto_reply(proto, env, out, 500, "5.5.2",
			   "Command not recognised");
}

enum smtpd_effect
smtpd_proto_event(struct smtpd_proto *proto, const struct smtpd_env *env,
		  const struct smtp_cmd_event *event, struct buf *out,
		  struct smtpd_ask *ask)
{
	switch (event->kind) {
	case SMTP_CMD_NEED_MORE:
		return SMTPD_DO_NOTHING;
	case SMTP_CMD_TOO_LONG:
	case SMTP_CMD_BAD_BYTE:
		break;
	case SMTP_CMD_LINE:
		if (proto->state == SMTPD_AUTH)
			return proto_auth_line(proto, env, event, out, ask);
		return proto_command(proto, env, event, out, ask);
	}
	if (proto->state == SMTPD_AUTH) {
		proto->state = proto->before_auth;
		(void)proto_reply(proto, env, out, 500, "5.5.6",
				  "Authentication line is too long or broken");
		return proto->state == SMTPD_ENDED ? SMTPD_DO_CLOSE
						   : SMTPD_DO_AUTH_CANCEL;
	}
	return proto_reply(proto, env, out, 500, "5.5.2",
			   event->kind == SMTP_CMD_TOO_LONG
				   ? "Line too long"
				   : "Only CR LF ends a line, and no NUL is "
				     "allowed");
}

/* -------------------------------------------------------------- results */

enum smtpd_effect
smtpd_proto_sender(struct smtpd_proto *proto, const struct smtpd_env *env,
		   const struct status *refusal, struct buf *out)
{
	if (refusal != NULL) {
		enum smtpd_effect effect =
			proto_status(proto, env, refusal, out);

		proto->is_utf8 = false;
		return effect;
	}
	proto->state = SMTPD_MAIL;
	proto->recipients = 0;
	return proto_reply(proto, env, out, 250, "2.1.0", "Sender ok");
}

enum smtpd_effect
smtpd_proto_recipient(struct smtpd_proto *proto, const struct smtpd_env *env,
		      const struct status *refusal, const char *address,
		      struct buf *out)
{
	struct status status;

	if (refusal != NULL)
		return proto_status(proto, env, refusal, out);
	proto->state = SMTPD_RCPT;
	proto->recipients++;
	status_set(&status, 250, "2.1.5", "<%s>: Recipient ok", address);
	return proto_status(proto, env, &status, out);
}

enum smtpd_effect
smtpd_proto_content_end(struct smtpd_proto *proto, const struct status *reply,
			struct buf *out)
{
	proto_write(proto, out, reply);
	proto_forget_transaction(proto);
	if (reply->code == 421) {
		proto->state = SMTPD_ENDED;
		return SMTPD_DO_CLOSE;
	}
	return SMTPD_DO_NOTHING;
}

enum smtpd_effect
smtpd_proto_auth(struct smtpd_proto *proto, const struct smtpd_env *env,
		 enum smtpd_auth_result result, const char *challenge,
		 struct buf *out)
{
	struct status status;

	if (result == SMTPD_AUTH_CHALLENGE) {
		(void)buf_addf(out, "334 %s\r\n", challenge);
		return SMTPD_DO_NOTHING;
	}
	proto->state = proto->before_auth;
	switch (result) {
	case SMTPD_AUTH_CHALLENGE:
		break;
	case SMTPD_AUTH_OK:
		proto->is_authenticated = true;
		return proto_reply(proto, env, out, 235, "2.7.0",
				   "Authentication successful");
	case SMTPD_AUTH_DENIED:
		/* counted by its own limit, not as an error */
		if (++proto->auth_failures >= env->auth_failures) {
			status_set(&status, 535, "5.7.8",
				   "Authentication credentials invalid");
			proto_write(proto, out, &status);
			return smtpd_proto_goodbye(proto, env, "4.7.0",
						   "Too many failed logins",
						   out);
		}
		status_set(&status, 535, "5.7.8",
			   "Authentication credentials invalid");
		proto_write(proto, out, &status);
		return SMTPD_DO_NOTHING;
	case SMTPD_AUTH_BAD_DATA:
		return proto_reply(proto, env, out, 501, "5.5.2",
				   "Authentication data is malformed");
	case SMTPD_AUTH_TEMPORARY:
		return proto_reply(proto, env, out, 454, "4.7.0",
				   "Temporary authentication failure");
	}
	return SMTPD_DO_NOTHING;
}

enum smtpd_effect
smtpd_proto_auth_refused(struct smtpd_proto *proto, const struct smtpd_env *env,
			 const struct status *refusal, struct buf *out)
{
	proto->state = proto->before_auth;
	return proto_status(proto, env, refusal, out);
}

void
smtpd_proto_secured(struct smtpd_proto *proto)
{
	smtpd_proto_done(proto);
	proto->state = SMTPD_FRESH;
	proto->is_esmtp = false;
	proto->recipients = 0;
	memset(&proto->cmd, 0, sizeof(proto->cmd));
}
