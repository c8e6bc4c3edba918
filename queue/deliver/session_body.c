/* SPDX-License-Identifier: ISC */
/*
 * The message on its way: pieces from memory or the spool, as they are in
 * chunks or with their dots, as fast as the stream takes them.
 */
#include "queue/deliver/session_internal.h"

#include <string.h>

#include "lib/err.h"

#define SESSION_PIECE (64 * 1024)

/* With their dots. Returns true when it should wait. */
static bool
session_encode(struct session *session, const uint8_t *bytes, size_t len)
{
	bool waits = false;

	while (len != 0) {
		struct str run;
		size_t used =
			smtp_data_encode(&session->encoder, bytes, len, &run);

		waits = stream_write(session->stream, run.at, run.len);
		bytes += used;
		len -= used;
	}
	return waits;
}

/* What smtp_client_chunk announces goes right behind its announcement. The
 * last one is out of the body's state at once: replies come next. */
static bool
session_chunk(struct session *session, const uint8_t *bytes, size_t len,
	      bool is_last)
{
	bool waits;

	smtp_client_chunk(session->client, len, is_last);
	session_flush(session);
	waits = len != 0 && stream_write(session->stream, bytes, len);
	if (is_last)
		session->state = SESSION_TALKING;
	return waits;
}

/* Sends these bytes. Returns true when it should wait. */
static bool
session_piece(struct session *session, const uint8_t *bytes, size_t len)
{
	bool waits;

	stream_set_deadline(session->stream,
			    smtp_client_timeout_ms(session->client));
	stream_cork(session->stream);
	if (smtp_client_is_chunked(session->client))
		waits = session_chunk(session, bytes, len,
				      body_is_over(&session->body));
	else
		waits = session_encode(session, bytes, len);
	stream_uncork(session->stream);
	return waits;
}

/* The body stays open: another transaction may need it once more. */
static void
session_body_end(struct session *session)
{
	if (smtp_client_is_chunked(session->client)) {
		(void)session_chunk(session, NULL, 0, true);
		return;
	}
	session->state = SESSION_TALKING;
	smtp_client_body_sent(session->client,
			      smtp_data_encode_end(&session->encoder));
}

void
session_on_bytes(void *owner, int status, const uint8_t *bytes, size_t len)
{
	struct session *session = owner;
	struct err err = ERR_INIT;

	session->waits_bytes = false;
	/* the server refused a chunk meanwhile, and a transaction for other
	 * recipients has begun: that reads from the beginning */
	if (smtp_client_want(session->client) != CLIENT_WANTS_BODY)
		return;
	if (status < 0) {
		/* without its end the message does not exist over there */
		(void)err_set(&err, status, "the message cannot be read");
		smtp_client_fail(session->client, CAUSE_SPOOL, "%s", err.text);
	} else if (len == 0) {
		session_body_end(session);
	} else {
		session->waits_drained = session_piece(session, bytes, len);
	}
	session_go_on(session);
}

bool
session_send_body(struct session *session)
{
	while (!session->waits_drained && !session->waits_bytes &&
	       smtp_client_want(session->client) == CLIENT_WANTS_BODY) {
		const uint8_t *bytes;
		size_t len;

		switch (body_next(&session->body, SESSION_PIECE, &bytes,
				  &len)) {
		case BODY_BYTES:
			session->waits_drained =
				session_piece(session, bytes, len);
			break;
		case BODY_LATER:
			session->waits_bytes = true;
			break;
		case BODY_END:
			session_body_end(session);
			break;
		}
	}
	return smtp_client_want(session->client) != CLIENT_WANTS_BODY;
}

void
session_begin_body(struct session *session)
{
	session->bodies = smtp_client_bodies(session->client);
	session->state = SESSION_BODY;
	session->waits_drained = session->waits_bytes = false;
	memset(&session->encoder, 0, sizeof(session->encoder));
	body_rewind(&session->body);
}
