/* SPDX-License-Identifier: ISC */
/*
 * The message on its way: pieces from memory or the spool, as they are in
 * chunks or with their dots, as fast as the stream takes them.
 */
#include "queue/deliver/connection_internal.h"

#include <string.h>

#include "lib/err.h"

#define CONNECTION_PIECE (64 * 1024)

/* With their dots. Returns true when it should wait. */
static bool
connection_encode(struct connection *connection, const uint8_t *bytes,
		  size_t len)
{
	bool waits = false;

	while (len != 0) {
		struct str run;
		size_t used = smtp_data_encode(&connection->encoder, bytes, len,
					       &run);

		waits = stream_write(connection->stream, run.at, run.len);
		bytes += used;
		len -= used;
	}
	return waits;
}

/* What smtp_client_chunk announces goes right behind its announcement. The
 * last one is out of the body's state at once: replies come next. */
static bool
connection_chunk(struct connection *connection, const uint8_t *bytes,
		 size_t len, bool is_last)
{
	bool waits;

	smtp_client_chunk(connection->client, len, is_last);
	connection_flush(connection);
	waits = len != 0 && stream_write(connection->stream, bytes, len);
	if (is_last)
		connection->state = CONNECTION_TALKING;
	return waits;
}

/* Sends these bytes. Returns true when it should wait. */
static bool
connection_piece(struct connection *connection, const uint8_t *bytes,
		 size_t len)
{
	bool waits;

	stream_set_deadline(connection->stream,
			    smtp_client_timeout_ms(connection->client));
	stream_cork(connection->stream);
	if (smtp_client_is_chunked(connection->client))
		waits = connection_chunk(connection, bytes, len,
					 body_is_over(&connection->body));
	else
		waits = connection_encode(connection, bytes, len);
	stream_uncork(connection->stream);
	return waits;
}

/* The body stays open: another transaction may need it once more. */
static void
connection_body_end(struct connection *connection)
{
	if (smtp_client_is_chunked(connection->client)) {
		(void)connection_chunk(connection, NULL, 0, true);
		return;
	}
	connection->state = CONNECTION_TALKING;
	smtp_client_body_sent(connection->client,
			      smtp_data_encode_end(&connection->encoder));
}

void
connection_on_bytes(void *owner, int status, const uint8_t *bytes, size_t len)
{
	struct connection *connection = owner;
	struct err err = ERR_INIT;

	connection->waits_bytes = false;
	/* the server refused a chunk meanwhile, and a transaction for other
	 * recipients has begun: that reads from the beginning */
	if (smtp_client_want(connection->client) != CLIENT_WANTS_BODY)
		return;
	if (status < 0) {
		/* without its end the message does not exist over there */
		(void)err_set(&err, status, "the message cannot be read");
		smtp_client_fail(connection->client, CAUSE_SPOOL, "%s",
				 err.text);
	} else if (len == 0) {
		connection_body_end(connection);
	} else {
		connection->waits_drained =
			connection_piece(connection, bytes, len);
	}
	connection_go_on(connection);
}

bool
connection_send_body(struct connection *connection)
{
	while (!connection->waits_drained && !connection->waits_bytes &&
	       smtp_client_want(connection->client) == CLIENT_WANTS_BODY) {
		const uint8_t *bytes;
		size_t len;

		switch (body_next(&connection->body, CONNECTION_PIECE, &bytes,
				  &len)) {
		case BODY_BYTES:
			connection->waits_drained =
				connection_piece(connection, bytes, len);
			break;
		case BODY_LATER:
			connection->waits_bytes = true;
			break;
		case BODY_END:
			connection_body_end(connection);
			break;
		}
	}
	return smtp_client_want(connection->client) != CLIENT_WANTS_BODY;
}

void
connection_begin_body(struct connection *connection)
{
	connection->bodies = smtp_client_bodies(connection->client);
	connection->state = CONNECTION_BODY;
	connection->waits_drained = connection->waits_bytes = false;
	memset(&connection->encoder, 0, sizeof(connection->encoder));
	body_rewind(&connection->body);
}
