/* SPDX-License-Identifier: ISC */
/*
 * server/smtpd_session.h - one inbound connection
 *
 * The shell around smtpd_proto: reads the stream, carries out effects (policy
 * decisions, logins, TLS, the message into the queue), writes the replies.
 * While an answer is outstanding nothing is parsed. The session owns itself:
 * it ends with its connection.
 */
#ifndef OSTLER_SERVER_SMTPD_SESSION_H
#define OSTLER_SERVER_SMTPD_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"

struct ip;
struct smtpd;
struct smtpd_client;
struct stream;

/*
 * Takes the stream (which has no owner yet) and begins to talk.
 *
 * listener   index in smtpd->config->listeners
 * client     the caller's count for this address; given back at the end
 */
void session_open(struct smtpd *smtpd, size_t listener,
		  struct smtpd_client *client, struct stream *stream);

struct smtpd_session *session_from_link(struct list *link);

/* Idle: says 421 and ends now. In a transaction: ends behind it. */
void session_drain(struct smtpd_session *session);
/* Ends now, with a 421 where the client can read it. */
void session_cut(struct smtpd_session *session);
/* Ends with a 421 when its login is this one. A login that is under way cannot
 * end well any more, whose ever it is: that shows at its end alone. */
void session_end_login(struct smtpd_session *session, const char *login);

/* Is its place one of those that strangers share? */
bool session_is_stranger(const struct smtpd_session *session);
/* How long we have waited for the client, in ms; 0 when it is not its turn,
 * and for one that is logged in or has begun to send. */
uint64_t session_idle_ms(const struct smtpd_session *session);
/* Ends with a 421 for the sake of another. */
void session_make_room(struct smtpd_session *session);

/* smtpd.c: a stranger has come through a proxy, and is counted. False: the
 * places of strangers were all taken before, and nobody could make room. */
bool smtpd_has_place_for_last(struct smtpd *smtpd);

/* smtpd.c: one connection of this client less. */
void smtpd_client_gone(struct smtpd *smtpd, struct smtpd_client *client);

/* smtpd.c: the connection counts for another address from now on. False when
 * that one has too many. */
bool smtpd_client_change(struct smtpd *smtpd, struct smtpd_client **client,
			 const struct ip *ip);

#endif
