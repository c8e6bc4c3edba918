/* SPDX-License-Identifier: ISC */
/*
 * server/control_queue.c - ostlerctl queue, on the daemon's side
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "queue/deliver/outcome.h"
#include "queue/queue.h"
#include "queue/redirect.h"
#include "server/control.h"
#include "server/daemon.h"
#include "server/queue_json.h"

#define CAT_CHUNK 65536

/* --------------------------------------------------------------- filters */

struct filter {
	struct queue_filter queue;
	uint64_t *ids;
};

/* Reads the filter from the arguments; false: an id is none. */
static bool
filter_read(const struct control_request *request, struct filter *out)
{
	json_t *ids = json_object_get(request->args, "ids");

	memset(out, 0, sizeof(*out));
	out->queue.domain = control_arg(request, "domain");
	out->queue.state = control_arg(request, "state");
	out->queue.category = control_arg(request, "category");
	out->queue.sender = control_arg(request, "sender");
	if (json_array_size(ids) == 0)
		return true;
	out->ids = mem_alloc(json_array_size(ids) * sizeof(*out->ids));
	for (size_t i = 0; i < json_array_size(ids); i++) {
		const char *text = json_string_value(json_array_get(ids, i));

		if (text == NULL || !spool_id_parse(text, &out->ids[i])) {
			free(out->ids);
			out->ids = NULL;
			return false;
		}
	}
	out->queue.ids = out->ids;
	out->queue.id_count = json_array_size(ids);
	return true;
}

static void
filter_done(struct filter *filter)
{
	free(filter->ids);
}

/* ------------------------------------------------------------------ list */

struct listing {
	struct control_request *request;
	struct queue_listing *queue;
	struct filter filter; /* lent to the queue while it lists */
};

static bool
on_item(void *arg, const struct queue_item *item)
{
	struct listing *listing = arg;

	return !control_row(listing->request, queue_json_item(item));
}

static void
listing_end(struct listing *listing)
{
	struct control_request *request = listing->request;

	filter_done(&listing->filter);
	free(listing);
	control_end(request, EXIT_DONE, NULL);
}

static void
on_list_end(void *arg)
{
	listing_end(arg);
}

static void
on_list_room(struct control_request *request)
{
	struct listing *listing = request->priv;

	queue_list_resume(listing->queue);
}

static void
on_list_cancel(struct control_request *request)
{
	struct listing *listing = request->priv;

	queue_list_cancel(listing->queue);
	listing_end(listing);
}

void
control_queue_list(struct control_request *request)
{
	struct listing *listing = mem_zalloc(sizeof(*listing));

	if (!filter_read(request, &listing->filter)) {
		free(listing);
		control_end(request, EXIT_USAGE, "not a queue id");
		return;
	}
	listing->request = request;
	request->priv = listing;
	request->on_room = on_list_room;
	request->on_cancel = on_list_cancel;
	listing->queue =
		queue_list(request->daemon->queue, &listing->filter.queue,
			   on_item, on_list_end, listing);
}

/* ------------------------------------------------------------------ show */

static void
on_shown(void *arg, int status, const struct envelope *envelope,
	 const char *states)
{
	struct control_request *request = arg;

	if (status == -ENOENT) {
		control_end(request, EXIT_NO, "no such message");
		return;
	}
	if (status < 0) {
		control_end(request, EXIT_NO, strerror(-status));
		return;
	}
	(void)control_row(request, queue_json_envelope(envelope, states));
	control_end(request, EXIT_DONE, NULL);
}

static bool
request_id(const struct control_request *request, uint64_t *out)
{
	const char *text = control_arg(request, "id");

	return text != NULL && spool_id_parse(text, out);
}

void
control_queue_show(struct control_request *request)
{
	uint64_t id;

	if (!request_id(request, &id)) {
		control_end(request, EXIT_USAGE, "not a queue id");
		return;
	}
	queue_show(request->daemon->queue, id, on_shown, request);
}

/* ------------------------------------------------------------------- cat */

struct cat {
	struct control_request *request;
	struct spool *spool;
	struct spool_read *read; /* NULL: waiting for room */
	uint64_t id, offset;
};

static void cat_next(struct cat *cat);

static void
cat_end(struct cat *cat, int exit_code, const char *error)
{
	struct control_request *request = cat->request;

	free(cat);
	control_end(request, exit_code, error);
}

static void
on_cat_bytes(void *arg, int status, const uint8_t *bytes, size_t len)
{
	struct cat *cat = arg;

	cat->read = NULL;
	if (status < 0) {
		cat_end(cat, EXIT_NO,
			status == -ENOENT ? "no such message"
					  : strerror(-status));
		return;
	}
	if (len == 0) {
		cat_end(cat, EXIT_DONE, NULL);
		return;
	}
	cat->offset += len;
	if (!control_row(cat->request, queue_json_bytes(bytes, len)))
		cat_next(cat);
}

static void
cat_next(struct cat *cat)
{
	cat->read = spool_read(cat->spool, cat->id, cat->offset, CAT_CHUNK,
			       on_cat_bytes, cat);
}

static void
on_cat_room(struct control_request *request)
{
	struct cat *cat = request->priv;

	if (cat->read == NULL)
		cat_next(cat);
}

static void
on_cat_cancel(struct control_request *request)
{
	struct cat *cat = request->priv;

	if (cat->read != NULL)
		spool_read_cancel(cat->read);
	cat_end(cat, EXIT_NO, NULL);
}

void
control_queue_cat(struct control_request *request)
{
	struct cat *cat = mem_zalloc(sizeof(*cat));

	if (!request_id(request, &cat->id)) {
		free(cat);
		control_end(request, EXIT_USAGE, "not a queue id");
		return;
	}
	cat->request = request;
	cat->spool = queue_spool(request->daemon->queue);
	request->priv = cat;
	request->on_room = on_cat_room;
	request->on_cancel = on_cat_cancel;
	cat_next(cat);
}

/* ----------------------------------------------------------------- verbs */

static void
on_count(void *arg, uint64_t count)
{
	struct control_request *request = arg;
	/* a message that was named and is not there is a "no" */
	bool is_missing =
		count < json_array_size(json_object_get(request->args, "ids"));

	(void)control_row(request,
			  json_pack("{s:I}", "count", (json_int_t)count));
	control_end(request, is_missing ? EXIT_NO : EXIT_DONE,
		    is_missing ? "not all of these are in the queue" : NULL);
}

/* "routes" is as they say again. */
static void
redirect(struct control_request *request, const struct queue_filter *filter)
{
	const char *via = control_arg(request, "via"), *problem;
	struct redirect_target target;
	char text[300];

	if (via == NULL) {
		control_end(request, EXIT_USAGE, "--via is missing");
		return;
	}
	if (strcmp(via, "routes") == 0)
		via = "";
	problem = via[0] != '\0' ? redirect_parse(via, &target) : NULL;
	if (problem == NULL) {
		queue_redirect(request->daemon->queue, via, filter, on_count,
			       request);
		return;
	}
	(void)snprintf(text, sizeof(text), "--via '%.100s' %s", via, problem);
	control_end(request, EXIT_USAGE, text);
}

void
control_queue_apply(struct control_request *request)
{
	static const struct {
		const char *name;
		enum queue_verb verb;
	} verbs[] = {
		{"retry", QUEUE_RETRY},	    {"hold", QUEUE_HOLD},
		{"release", QUEUE_RELEASE}, {"remove", QUEUE_REMOVE},
		{"bounce", QUEUE_BOUNCE},
	};
	const char *name = control_arg(request, "verb");
	struct filter filter;

	if (!filter_read(request, &filter)) {
		control_end(request, EXIT_USAGE, "not a queue id");
		return;
	}
	for (size_t i = 0; name != NULL && i < sizeof(verbs) / sizeof(verbs[0]);
	     i++) {
		if (strcmp(verbs[i].name, name) != 0)
			continue;
		queue_apply(request->daemon->queue, verbs[i].verb,
			    &filter.queue, on_count, request);
		filter_done(&filter);
		return;
	}
	if (name != NULL && strcmp(name, "redirect") == 0) {
		redirect(request, &filter.queue);
		filter_done(&filter);
		return;
	}
	filter_done(&filter);
	control_end(request, EXIT_USAGE, "no such verb");
}
