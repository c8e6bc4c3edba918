/* SPDX-License-Identifier: ISC */
/*
 * The server's half of a conversation. The first byte says on which kind of
 * listener it is held; addresses with an x in them are refused, logins that
 * begin with an A are right, with a B no base64, and T is when none can be
 * looked up.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/buf.h"
#include "lib/wire/smtp_data.h"
#include "server/smtpd_proto.h"

#define OUT_MAX (16u << 20)

enum { ON_SUBMISSION = 1, IS_SECURE = 2, IS_SMALL = 4, IS_TRUSTED = 8 };

struct run {
	struct smtpd_proto proto;
	struct smtpd_env env;
	struct smtp_data_decoder decoder;
	struct buf out, content;
	bool is_open; /* a transaction has a sender */
	bool is_over;
};

static void
run_begin(struct run *run, unsigned flags)
{
	bool is_secure = (flags & IS_SECURE) != 0;

	memset(run, 0, sizeof(*run));
	smtpd_proto_init(&run->proto);
	buf_init(&run->out, OUT_MAX);
	buf_init(&run->content, OUT_MAX);
	run->env = (struct smtpd_env){
		.hostname = "mx.example",
		.is_submission = (flags & ON_SUBMISSION) != 0,
		.offers_tls = !is_secure,
		.is_secure = is_secure,
		.is_trusted = (flags & IS_TRUSTED) != 0,
		.mechanisms = is_secure ? "PLAIN" : "SCRAM-SHA-256",
		.mechanisms_under_tls = "SCRAM-SHA-256 PLAIN",
		.message_size = (flags & IS_SMALL) != 0 ? 20 : 0,
		.recipients = 3,
		.errors = 50,
		.auth_failures = 5,
	};
}

static void
run_end(struct run *run)
{
	smtpd_proto_done(&run->proto);
	buf_done(&run->out);
	buf_done(&run->content);
}

static enum smtpd_auth_result
login(struct str answer)
{
	if (answer.len == 0)
		return SMTPD_AUTH_CHALLENGE;
	switch (answer.at[0]) {
	case 'A':
		return SMTPD_AUTH_OK;
	case 'B':
		return SMTPD_AUTH_BAD_DATA;
	case 'T':
		return SMTPD_AUTH_TEMPORARY;
	default:
		return SMTPD_AUTH_DENIED;
	}
}

static const struct status *
decide(const struct addr *addr, struct status *refusal)
{
	status_set(refusal, 550, "5.7.1", "<%s>: no", addr->text);
	return strchr(addr->text, 'x') != NULL ? refusal : NULL;
}

static enum smtpd_effect
save(struct run *run)
{
	struct status reply;

	FUZZ_CHECK(run->is_open);
	FUZZ_CHECK(run->env.message_size == 0 ||
		   run->proto.content_bytes <= run->env.message_size);
	status_set(&reply, 250, "2.0.0", "Queued");
	(void)buf_adds(&run->content, "|");
	memset(&run->decoder, 0, sizeof(run->decoder));
	run->is_open = false;
	return smtpd_proto_content_end(&run->proto, &reply, &run->out);
}

/* Carries out an effect; the effect that comes of it. */
static enum smtpd_effect
step(struct run *run, enum smtpd_effect effect, const struct smtpd_ask *ask)
{
	struct smtpd_proto *proto = &run->proto;
	const struct smtpd_env *env = &run->env;
	const struct status *refused;
	struct status refusal;

	switch (effect) {
	case SMTPD_DO_NOTHING:
	case SMTPD_DO_CLOSE:
	case SMTPD_DO_AUTH_CANCEL:
		break;
	case SMTPD_DO_CONTENT:
	case SMTPD_DO_CHUNK:
		FUZZ_CHECK(run->is_open);
		break;
	case SMTPD_DO_RESET:
		run->is_open = false;
		memset(&run->decoder, 0, sizeof(run->decoder));
		(void)buf_adds(&run->content, "!");
		break;
	case SMTPD_DO_TLS:
		FUZZ_CHECK(env->offers_tls && !run->is_open &&
			   !proto->is_authenticated);
		smtpd_proto_secured(proto);
		run->env.offers_tls = false;
		run->env.is_secure = true;
		break;
	case SMTPD_DO_AUTH_BEGIN:
		FUZZ_CHECK(env->is_submission && !run->is_open);
		return smtpd_proto_auth(proto, env, login(ask->auth.initial),
					"YQ==", &run->out);
	case SMTPD_DO_AUTH_STEP:
		return smtpd_proto_auth(proto, env, login(ask->line),
					"YQ==", &run->out);
	case SMTPD_DO_DECIDE_SENDER:
		FUZZ_CHECK(!run->is_open);
		refused = decide(&ask->mail.sender, &refusal);
		run->is_open = refused == NULL;
		return smtpd_proto_sender(proto, env, refused, &run->out);
	case SMTPD_DO_DECIDE_RCPT:
		FUZZ_CHECK(run->is_open);
		refused = decide(&ask->rcpt.address, &refusal);
		return smtpd_proto_recipient(proto, env, refused,
					     ask->rcpt.address.text, &run->out);
	case SMTPD_DO_SAVE:
		return save(run);
	}
	return SMTPD_DO_NOTHING;
}

static void
apply(struct run *run, enum smtpd_effect effect, const struct smtpd_ask *ask)
{
	/* an effect leads to at most two others */
	for (unsigned i = 0; effect != SMTPD_DO_NOTHING; i++) {
		FUZZ_CHECK(i < 4);
		run->is_over |= effect == SMTPD_DO_CLOSE;
		effect = step(run, effect, ask);
	}
}

static bool
is_in_chunk(const struct run *run)
{
	return run->proto.state == SMTPD_CHUNK ||
	       run->proto.state == SMTPD_SKIP;
}

static size_t
take_chunk(struct run *run, const uint8_t *bytes, size_t len)
{
	uint64_t before = run->proto.chunk_left;
	size_t used = smtpd_proto_chunk(&run->proto, len);

	FUZZ_CHECK(used <= len && before - run->proto.chunk_left == used);
	if (run->proto.state == SMTPD_CHUNK)
		(void)buf_add(&run->content, bytes, used);
	if (run->proto.chunk_left == 0)
		apply(run,
		      smtpd_proto_chunk_end(&run->proto, &run->env, &run->out),
		      NULL);
	return used;
}

static size_t
take_content(struct run *run, const uint8_t *bytes, size_t len)
{
	size_t used = 0;
	bool is_end = false;

	while (used < len && !is_end) {
		struct str text;

		used += smtp_data_decode(&run->decoder, bytes + used,
					 len - used, &text, &is_end);
		(void)buf_add(&run->content, text.at, text.len);
	}
	if (is_end)
		apply(run, save(run), NULL);
	return used;
}

/* One event's worth from the front. */
static size_t
take(struct run *run, const uint8_t *bytes, size_t len)
{
	struct smtp_cmd_event event;
	struct smtpd_ask ask;
	size_t used;

	if (is_in_chunk(run))
		return take_chunk(run, bytes, len);
	if (run->proto.state == SMTPD_CONTENT)
		return take_content(run, bytes, len);
	used = smtp_cmd_next(&run->proto.cmd, smtpd_proto_mode(&run->proto),
			     bytes, len, &event);
	if (event.kind != SMTP_CMD_NEED_MORE)
		apply(run,
		      smtpd_proto_event(&run->proto, &run->env, &event,
					&run->out, &ask),
		      &ask);
	if (is_in_chunk(run) && run->proto.chunk_left == 0)
		(void)take_chunk(run, bytes, 0);
	return used;
}

/* seed 0: all of it at once. */
static void
converse(struct run *run, const uint8_t *data, size_t size, uint32_t seed)
{
	size_t at = 0, end = seed == 0 ? size : 0;
	struct fuzz_windows windows;

	fuzz_windows_init(&windows, size);
	while (!run->is_over) {
		uint8_t *window;
		size_t used;

		if (end < size && seed != 0)
			end += fuzz_piece(&seed, size - end);
		do {
			window = fuzz_window(&windows, data + at, end - at);
			used = end > at ? take(run, window, end - at) : 0;
			at += used;
		} while (used != 0 && !run->is_over);
		if (end == size)
			break;
	}
	fuzz_windows_done(&windows);
}

/* RFC 5321, 4.2: a code, a space or a hyphen, at most 512 octets, CR LF */
static void
check_replies(struct buf *out)
{
	const char *line = buf_text(out);

	while (*line != '\0') {
		const char *end = strstr(line, "\r\n");

		FUZZ_CHECK(end != NULL && end - line >= 4 && end - line <= 510);
		FUZZ_CHECK(line[0] >= '2' && line[0] <= '5');
		FUZZ_CHECK(line[3] == ' ' || line[3] == '-');
		for (const char *c = line; c < end; c++)
			FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
		line = end + 2;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run whole, pieces;
	uint32_t seed;

	if (size == 0)
		return 0;
	seed = (uint32_t)size * 2654435761u | 1;
	run_begin(&whole, data[0]);
	run_begin(&pieces, data[0]);
	converse(&whole, data + 1, size - 1, 0);
	converse(&pieces, data + 1, size - 1, seed);
	FUZZ_CHECK(strlen(buf_text(&whole.out)) == buf_len(&whole.out));
	FUZZ_CHECK(strcmp(buf_text(&whole.out), buf_text(&pieces.out)) == 0);
	FUZZ_CHECK(buf_len(&whole.content) == buf_len(&pieces.content));
	FUZZ_CHECK(buf_len(&whole.content) == 0 ||
		   memcmp(buf_bytes(&whole.content), buf_bytes(&pieces.content),
			  buf_len(&whole.content)) == 0);
	FUZZ_CHECK(whole.proto.state == pieces.proto.state);
	check_replies(&whole.out);
	run_end(&whole);
	run_end(&pieces);
	return 0;
}
