/* SPDX-License-Identifier: ISC */
#include "queue/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file_saver.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "queue/core.h"

#define DIGEST_FILE "digest"
#define FILE_HEAD   "ostler-digest 1"
#define FILE_MAX    (3 * SHEET_FILE_MAX) /* waiting, written, sent */

struct digest {
	struct queue *queue;
	struct file_saver *saver;

	struct sheet waiting; /* for the next one */
	uint64_t due_ms;      /* of the next one, wall clock */
	struct sheet sent;    /* told by the one on its way */
	uint64_t sent_id;     /* 0: none is */

	/* What no file has yet. A write that fails takes it away again: who
	 * brought it hears so, and comes back with it. */
	struct sheet arriving; /* for the next write */
	struct sheet written;  /* in the one that runs */

	struct list tickets;
	uint64_t changes; /* counts what differs from the file */
	uint64_t saving;  /* the changes that the running write has */

	struct queue_put put; /* queue NULL: none is being written */
	bool is_sending;      /* the file is to know the id first */

	uint64_t failed;
	char *last_why;
};

/* ------------------------------------------------------------- the file */

static void
save(struct digest *digest)
{
	struct buf text;

	if (file_saver_is_busy(digest->saver))
		return; /* with the next one */
	buf_init(&text, FILE_MAX);
	(void)buf_addf(&text, FILE_HEAD "\n");
	sheet_merge(&digest->written, &digest->arriving);
	/* read again, the two are one */
	sheet_write(&digest->waiting, &text);
	sheet_write(&digest->written, &text);
	if (digest->sent_id != 0) {
		char id[SPOOL_ID_MAX];

		(void)buf_addf(&text, "sent\t%s\n",
			       spool_id_format(digest->sent_id, id));
		sheet_write(&digest->sent, &text);
	}
	digest->saving = digest->changes;
	file_saver_replace(digest->saver, &text);
	buf_done(&text);
}

static void
wait_for_disk(struct digest *digest, struct digest_ticket *ticket)
{
	ticket->number = ++digest->changes;
	list_init(&ticket->link);
	list_push(&digest->tickets, &ticket->link);
	save(digest);
}

static void send_now(struct digest *digest);
static void take_back(struct digest *digest);

static void
log_unsaved(int status)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_ERROR, "digest");
	log_text(&line, "file", DIGEST_FILE);
	log_text(&line, "reason", uv_strerror(status));
	log_end(&line);
}

/* What the write brought is in the file now, or nowhere. A period from the
 * first failure on, the next digest is due. */
static void
note_written(struct digest *digest, int status)
{
	if (status < 0)
		sheet_done(&digest->written);
	else
		sheet_merge(&digest->waiting, &digest->written);
	if (digest->due_ms == 0 && sheet_total(&digest->waiting) != 0)
		digest->due_ms = queue_wall_ms(digest->queue);
}

static void
on_saved(void *arg, int status)
{
	struct digest *digest = arg;
	struct list done, *node;

	if (status < 0)
		log_unsaved(status);
	note_written(digest, status);
	list_init(&done);
	while (!list_is_empty(&digest->tickets)) {
		struct digest_ticket *ticket =
			container_of(digest->tickets.next, struct digest_ticket,
				     link);

		if (ticket->number > digest->saving)
			break;
		list_remove(&ticket->link);
		list_push(&done, &ticket->link);
	}
	if (digest->is_sending && digest->put.queue != NULL) {
		digest->is_sending = false;
		if (status == 0)
			send_now(digest);
		else
			take_back(digest);
	}
	if (digest->changes != digest->saving)
		save(digest);
	queue_kick(digest->queue); /* for its time */
	for (node = list_pop(&done); node != NULL; node = list_pop(&done)) {
		struct digest_ticket *ticket =
			container_of(node, struct digest_ticket, link);

		/* the file may say less than it could of a digest that
		 * ended: it is told again then, never forgotten */
		ticket->on_done(ticket, ticket->is_settled ? 0 : status);
	}
}

static int
read_file(struct digest *digest, const char *path, struct err *err)
{
	struct sheet *sheet = &digest->waiting;
	struct str rest, line;
	struct buf text;
	int rc;

	buf_init(&text, FILE_MAX);
	rc = file_load(path, &text);
	if (rc == -ENOENT) {
		buf_done(&text);
		return 0;
	}
	if (rc < 0) {
		buf_done(&text);
		return err_set(err, rc, "'%s'", path);
	}
	rest = str_from((const char *)buf_bytes(&text), buf_len(&text));
	while (str_cut(&rest, '\n', &line)) {
		char id[SPOOL_ID_MAX];

		if (!str_starts_nocase(line, "sent\t")) {
			/* others are a newer version's, or the head */
			(void)sheet_read_line(sheet, line);
			continue;
		}
		(void)str_copy(id, sizeof(id),
			       str_from(line.at + 5, line.len - 5));
		if (spool_id_parse(id, &digest->sent_id))
			sheet = &digest->sent;
	}
	buf_done(&text);
	return 0;
}

/* -------------------------------------------------------------- sending */

static uint64_t
period_ms(const struct digest *digest)
{
	return digest->queue->digest_s * 1000;
}

static void
take_back(struct digest *digest)
{
	queue_put_abort(&digest->put);
	sheet_merge(&digest->waiting, &digest->sent);
	digest->sent_id = 0;
	digest->changes++;
	/* not at once: that would be a loop */
	digest->due_ms = queue_wall_ms(digest->queue);
}

static void
log_digest(const struct digest *digest, uint64_t id, const char *why)
{
	char id_text[SPOOL_ID_MAX];
	struct log_line line;

	log_begin(&line, why == NULL ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
		  "digest");
	log_text(&line, "id", spool_id_format(id, id_text));
	log_text(&line, "to", policy_postmaster(digest->queue->policy));
	log_number(&line, "messages", (int64_t)sheet_total(&digest->sent));
	if (why != NULL)
		log_text(&line, "reason", why);
	log_end(&line);
}

static void
on_put_room(void *owner)
{
	/* it was handed over in one go */
}

static void
on_put_end(void *owner, int status)
{
	struct digest *digest = owner;

	digest->put.queue = NULL;
	if (status < 0) {
		log_digest(digest, digest->sent_id, uv_strerror(status));
		take_back(digest);
		save(digest);
		return;
	}
	log_digest(digest, digest->sent_id, NULL);
}

static void
send_now(struct digest *digest)
{
	struct queue *queue = digest->queue;
	char id[SPOOL_ID_MAX];
	struct sheet_letter letter = {
		.hostname = policy_hostname(queue->policy),
		.from = policy_postmaster(queue->policy),
		.id = spool_id_format(digest->sent_id, id),
		.now_ms = queue_wall_ms(queue),
	};
	struct buf text;

	buf_init(&text, SHEET_FILE_MAX);
	sheet_format(&digest->sent, &letter, &text);
	(void)queue_put_data(&digest->put, buf_bytes(&text), buf_len(&text));
	buf_done(&text);
	queue_put_end(&digest->put);
}

/* The file learns the id before the message is: after a crash in between it
 * is in no queue, and what it would have told is taken back. */
static void
begin(struct digest *digest)
{
	struct queue *queue = digest->queue;
	struct envelope envelope;

	envelope_init(&envelope);
	envelope.sender = mem_strdup("");
	envelope.received_ms = queue_wall_ms(queue);
	envelope.listener = mem_strdup(DIGEST_LISTENER);
	report_address(queue, policy_postmaster(queue->policy), &envelope);
	digest->put.owner = digest;
	digest->put.on_room = on_put_room;
	digest->put.on_end = on_put_end;
	queue_put_begin(queue, &digest->put, &envelope);
	digest->sent_id = digest->put.spool.id;
	sheet_merge(&digest->sent, &digest->waiting);
	digest->due_ms = 0;
	digest->is_sending = true;
	digest->changes++;
	save(digest);
}

uint64_t
digest_wakeup_ms(const struct digest *digest)
{
	if (digest->due_ms == 0 || digest->queue->digest_s == 0 ||
	    digest->sent_id != 0)
		return UINT64_MAX;
	return digest->due_ms + period_ms(digest);
}

void
digest_tick(struct digest *digest)
{
	struct queue *queue = digest->queue;

	if (digest->sent_id != 0 && digest->put.queue == NULL &&
	    entry_index_find(&queue->index, digest->sent_id) == NULL &&
	    digest->changes == digest->saving) {
		/* it is in no queue and nobody has said that it arrived: lost
		 * in a crash, or removed by an operator */
		take_back(digest);
		save(digest);
	}
	/* by a clock that was wrong: a period from now on */
	if (digest->due_ms > queue_wall_ms(queue))
		digest->due_ms = queue_wall_ms(queue);
	/* a write that runs would not know of the id */
	if (queue_wall_ms(queue) >= digest_wakeup_ms(digest) &&
	    !file_saver_is_busy(digest->saver) &&
	    queue_accepting(queue) == QUEUE_ACCEPTS)
		begin(digest);
}

/* -------------------------------------------------------------- telling */

void
digest_add(struct digest *digest, const struct sheet_item *item,
	   struct digest_ticket *ticket)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "digest");
	log_text(&line, "of", item->id);
	log_text(&line, "from", item->sender);
	log_text(&line, "to", item->recipient);
	log_text(&line, "why",
		 item->why == SHEET_OVER_CAP ? "reports_per_sender"
					     : "null sender");
	log_text(&line, "category", category_name(item->category));
	log_end(&line);
	sheet_add(&digest->arriving, item);
	ticket->is_settled = false;
	wait_for_disk(digest, ticket);
}

void
digest_settled(struct digest *digest, uint64_t id, const char *why,
	       struct digest_ticket *ticket)
{
	if (id == digest->sent_id) {
		free(digest->last_why);
		digest->last_why = mem_strdup(why);
		if (why != NULL) {
			digest->failed++;
			log_digest(digest, id, why);
			take_back(digest);
		}
		sheet_done(&digest->sent);
		digest->sent_id = 0;
	}
	ticket->is_settled = true;
	wait_for_disk(digest, ticket);
	queue_kick(digest->queue);
}

void
digest_cancel(struct digest_ticket *ticket)
{
	list_remove(&ticket->link);
}

void
digest_stats(const struct digest *digest, struct digest_stats *out)
{
	memset(out, 0, sizeof(*out));
	out->waiting = sheet_total(&digest->waiting);
	out->on_way = sheet_total(&digest->sent);
	if (digest->due_ms != 0)
		out->due_ms = digest->due_ms + period_ms(digest);
	out->failed = digest->failed;
	out->last_why = digest->last_why;
}

/* -------------------------------------------------------- open and close */

int
digest_open(struct queue *queue, struct digest **out, struct err *err)
{
	struct digest *digest = mem_zalloc(sizeof(*digest));
	char *path = mem_printf("%s/" DIGEST_FILE, queue->spool_dir);
	int rc;

	digest->queue = queue;
	list_init(&digest->tickets);
	rc = read_file(digest, path, err);
	if (rc == 0) {
		digest->due_ms = digest->waiting.first_ms;
		digest->saver =
			file_saver_new(queue->loop, path, on_saved, digest);
		*out = digest;
	} else {
		digest_free(digest);
	}
	free(path);
	return rc;
}

void
digest_free(struct digest *digest)
{
	if (digest == NULL)
		return;
	queue_put_abort(&digest->put);
	file_saver_free(digest->saver);
	sheet_done(&digest->waiting);
	sheet_done(&digest->sent);
	sheet_done(&digest->arriving);
	sheet_done(&digest->written);
	free(digest->last_why);
	free(digest);
}
