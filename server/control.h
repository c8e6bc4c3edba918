/* SPDX-License-Identifier: ISC */
/*
 * server/control.h - what ostlerctl talks to
 *
 * A unix socket (0600, root and `user`, checked by peer credentials). A
 * request is one JSON object on a line: {"command": "queue list", "args":
 * {...}}. The answer is one object a line, the last one {"end": true, "exit":
 * N} with "error" when the answer is no.
 */
#ifndef OSTLER_SERVER_CONTROL_H
#define OSTLER_SERVER_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/err.h"

struct control;
struct daemon;
struct passwd;

/*
 * Binds the socket while the process still may; user becomes its owner.
 *
 * user  NULL: the caller's own
 */
int control_bind(const char *path, const struct passwd *user,
		 struct control **out, struct err *err);

/* Answers from now on. */
int control_start(struct control *control, struct daemon *daemon,
		  struct err *err);

/* Ends all connections, removes the socket. NULL is fine. */
void control_free(struct control *control);

/* ------------------------------------------------------------- requests */

struct control_request {
	struct daemon *daemon;
	json_t *args; /* an object */
	void *priv;   /* the command's own */

	/* The client went away or the daemon ends: stop what runs, then call
	 * control_end. NULL: nothing can be stopped, its callback will come. */
	void (*on_cancel)(struct control_request *request);
	/* After control_row said to wait: there is room again. */
	void (*on_room)(struct control_request *request);

	struct control_connection *connection; /* NULL: the client is gone */
};

/* Carries out a command; calls control_end once, now or later. */
typedef void control_fn(struct control_request *request);

/* Sends one object (takes it). True: wait for on_room before the next. */
bool control_row(struct control_request *request, json_t *row);

/* The last line; frees the request. error: NULL or a text for people. */
void control_end(struct control_request *request, int exit_code,
		 const char *error);

/* A string argument, or NULL when it is missing or no string. */
const char *control_arg(const struct control_request *request,
			const char *name);
bool control_arg_bool(const struct control_request *request, const char *name);

/* The commands, by file. */
control_fn control_status, control_config, control_pause, control_resume,
	control_reload, control_stop, control_logout; /* control_daemon.c */
control_fn control_auth_list, control_auth_clear;     /* control_auth.c */
control_fn control_queue_list, control_queue_show, control_queue_cat,
	control_queue_apply;		   /* control_queue.c */
control_fn control_bounces;		   /* control_bounces.c */
control_fn control_explain, control_route; /* control_policy.c */
control_fn control_classify;		   /* control_classify.c */
control_fn control_diagnose;		   /* control_diagnose.c */
control_fn control_doctor;		   /* control_doctor.c */

/* What route and diagnose say of a route; and how deliveries ask for it. */
struct next_hop;
struct route;
struct route_opts;
json_t *control_route_row(const struct daemon *daemon,
			  const struct next_hop *hop,
			  const struct route *route);
struct route_opts control_route_opts(struct daemon *daemon);

/* What status warns of: an array of strings. */
json_t *control_warnings(const struct daemon *daemon);

/* What status says of strangers and logins. */
void control_front_warnings(const struct daemon *daemon, json_t *list);
json_t *control_front_status(const struct daemon *daemon);

#endif
