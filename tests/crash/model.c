/* SPDX-License-Identifier: ISC */
#include "tests/crash/model.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"

/* A write, or (bytes NULL) a change of the size to at. */
struct change {
	uint64_t seq, at;
	size_t len;
	const uint8_t *bytes;
	bool is_limbo; /* a sync of it failed */
};

/* From seq on the name stands for node, or for nothing. */
struct naming {
	uint64_t seq;
	struct node *node;
	struct name *needs; /* of a rename: only if this one is named, too */
};

struct name {
	char *text;
	struct node *durable;
	uint64_t durable_seq;
	struct naming *namings;
	size_t count;
	size_t picked; /* so many of them happened, in the state at hand */
};

struct node {
	uint64_t inode;
	bool is_folder;
	/* file */
	bool is_mail; /* it has or had a name below msg/ */
	uint8_t *bytes;
	size_t len;	  /* durable */
	uint64_t *stamps; /* by sector: what was made durable last */
	size_t sectors;
	struct change *changes;
	size_t change_count;
	/* folder */
	struct name **names;
	size_t name_count;
};

struct sync {
	uint64_t which, inode, seq;
};

struct model {
	struct node **nodes;
	size_t count;
	struct sync syncs[256]; /* running */
	size_t sync_count;
	uint64_t cut; /* of the state at hand */
	unsigned share;
};

#define GROW(array, count)                                                     \
	((array) = mem_resize((array), (count) + 1, sizeof(*(array))))

unsigned
model_throw(uint64_t *dice, unsigned sides)
{
	*dice ^= *dice << 13;
	*dice ^= *dice >> 7;
	*dice ^= *dice << 17;
	return (unsigned)((*dice >> 16) % sides);
}

static void
die(const char *why)
{
	fprintf(stderr, "replay: %s\n", why);
	exit(2);
}

/* ----------------------------------------------------------- files, names */

static struct node *
add_node(struct model *model, uint64_t inode, bool is_folder)
{
	struct node *node = mem_zalloc(sizeof(*node));

	node->inode = inode;
	node->is_folder = is_folder;
	GROW(model->nodes, model->count);
	model->nodes[model->count++] = node;
	return node;
}

struct model *
model_new(void)
{
	struct model *model = mem_zalloc(sizeof(*model));

	(void)add_node(model, 0, true); /* the spool itself */
	return model;
}

void
model_free(struct model *model)
{
	for (size_t i = 0; i < model->count; i++) {
		struct node *node = model->nodes[i];

		for (size_t k = 0; k < node->name_count; k++) {
			free(node->names[k]->text);
			free(node->names[k]->namings);
			free(node->names[k]);
		}
		free(node->names);
		free(node->bytes);
		free(node->stamps);
		free(node->changes);
		free(node);
	}
	free(model->nodes);
	free(model);
}

/* The newest: numbers are used again. */
struct node *
model_node(struct model *model, uint64_t inode)
{
	for (size_t i = model->count; i > 1; i--)
		if (model->nodes[i - 1]->inode == inode)
			return model->nodes[i - 1];
	return NULL;
}

uint8_t *
model_read(struct model *model, uint64_t inode, uint64_t at, size_t len)
{
	const struct node *node = model_node(model, inode);
	uint8_t *to = mem_zalloc(len);

	if (node == NULL)
		return to;
	if (at < node->len)
		memcpy(to, node->bytes + at,
		       node->len - at < len ? node->len - at : len);
	for (size_t i = 0; i < node->change_count; i++) {
		const struct change *change = &node->changes[i];
		uint64_t from = change->at > at ? change->at : at;
		uint64_t end = change->at + change->len;

		if (end > at + len)
			end = at + len;
		if (change->bytes != NULL && from < end)
			memcpy(to + (from - at),
			       change->bytes + (from - change->at), end - from);
	}
	return to;
}

static struct name *
name_in(struct node *folder, const char *text, size_t len)
{
	struct name *name;

	for (size_t i = 0; i < folder->name_count; i++)
		if (strncmp(folder->names[i]->text, text, len) == 0 &&
		    folder->names[i]->text[len] == '\0')
			return folder->names[i];
	name = mem_zalloc(sizeof(*name));
	name->text = mem_dup(text, len);
	GROW(folder->names, folder->name_count);
	folder->names[folder->name_count++] = name;
	return name;
}

static struct node *
target(const struct name *name)
{
	return name->count != 0 ? name->namings[name->count - 1].node
				: name->durable;
}

static struct name *
find_name(struct model *model, const char *path)
{
	struct node *folder = model->nodes[0];

	while (true) {
		const char *slash = strchr(path, '/');

		if (slash == NULL)
			return name_in(folder, path, strlen(path));
		folder = target(name_in(folder, path, (size_t)(slash - path)));
		if (folder == NULL || !folder->is_folder)
			die("a path in the trace leads nowhere");
		path = slash + 1;
	}
}

static struct naming *
set_name(struct name *name, struct node *node, uint64_t seq)
{
	GROW(name->namings, name->count);
	name->namings[name->count] = (struct naming){.seq = seq, .node = node};
	return &name->namings[name->count++];
}

static void
change_node(struct model *model, const struct trace_event *event,
	    const uint8_t *bytes, uint64_t seq)
{
	struct node *node = model_node(model, event->a);

	if (node == NULL)
		die("a write to a file that was never made");
	GROW(node->changes, node->change_count);
	node->changes[node->change_count++] = (struct change){.seq = seq,
							      .at = event->b,
							      .len = event->len,
							      .bytes = bytes};
}

/* --------------------------------------------------------------- syncing */

/* Room for len bytes, zeros where there were none. */
static void
reserve(uint8_t **bytes, size_t have, size_t len)
{
	if (len <= have)
		return;
	*bytes = mem_resize(*bytes, len, 1);
	memset(*bytes + have, 0, len - have);
}

/* A file that was cut and grows again has zeros there, and what was in limbo
 * there is over. */
static void
make_size_durable(struct node *node, const struct change *change,
		  size_t limbo_count)
{
	size_t size = (size_t)change->at;

	reserve(&node->bytes, node->len, size);
	if (size < node->len)
		memset(node->bytes + size, 0, node->len - size);
	node->len = size;
	for (size_t i = 0; i < limbo_count; i++) {
		struct change *limbo = &node->changes[i];

		if (limbo->at >= size)
			limbo->at = limbo->len = 0;
		else if (limbo->at + limbo->len > size)
			limbo->len = size - (size_t)limbo->at;
	}
}

/* A sector is written as it is in memory, where it has also that of which an
 * earlier sync failed. */
static void
take_limbo(struct node *node, size_t limbo_count, size_t first, size_t last)
{
	uint64_t from = (uint64_t)first * SECTOR;
	uint64_t end = ((uint64_t)last + 1) * SECTOR;

	if (end > node->len)
		end = node->len;
	for (size_t i = 0; i < limbo_count; i++) {
		const struct change *limbo = &node->changes[i];
		uint64_t at = limbo->at > from ? limbo->at : from;
		uint64_t stop = limbo->at + limbo->len;

		for (; at < stop && at < end; at++)
			if (at / SECTOR >= node->sectors ||
			    node->stamps[at / SECTOR] < limbo->seq)
				node->bytes[at] = limbo->bytes[at - limbo->at];
	}
}

/* limbo_count: of the changes before it that stay in limbo. */
static void
make_durable(struct node *node, const struct change *change, size_t limbo_count)
{
	size_t end = (size_t)change->at + change->len, first, last;

	if (change->bytes == NULL) {
		make_size_durable(node, change, limbo_count);
		return;
	}
	if (change->len == 0)
		return;
	if (end > node->len) {
		reserve(&node->bytes, node->len, end);
		node->len = end;
	}
	first = (size_t)change->at / SECTOR;
	last = (end - 1) / SECTOR;
	take_limbo(node, limbo_count, first, last);
	memcpy(node->bytes + change->at, change->bytes, change->len);
	if (last >= node->sectors) {
		node->stamps = mem_resize(node->stamps, last + 1,
					  sizeof(*node->stamps));
		memset(node->stamps + node->sectors, 0,
		       (last + 1 - node->sectors) * sizeof(*node->stamps));
		node->sectors = last + 1;
	}
	for (size_t i = first; i <= last; i++)
		node->stamps[i] = change->seq;
}

static void
sync_file(struct node *node, uint64_t before, bool has_failed)
{
	size_t kept = 0;

	for (size_t i = 0; i < node->change_count; i++) {
		struct change *change = &node->changes[i];

		if (change->seq < before && has_failed && change->bytes != NULL)
			change->is_limbo = true;
		if (change->seq < before && !change->is_limbo && !has_failed)
			make_durable(node, change, kept);
		else
			node->changes[kept++] = *change;
	}
	node->change_count = kept;
}

static void
sync_name(struct name *name, uint64_t before)
{
	size_t done = 0;

	while (done < name->count && name->namings[done].seq < before) {
		struct naming *naming = &name->namings[done++];

		if (naming->needs != NULL)
			sync_name(naming->needs, naming->seq + 1);
		name->durable = naming->node;
		name->durable_seq = naming->seq;
	}
	if (done == 0)
		return;
	memmove(name->namings, name->namings + done,
		(name->count - done) * sizeof(*name->namings));
	name->count -= done;
}

static void
sync_node(struct node *node, uint64_t before, bool has_failed)
{
	if (!node->is_folder) {
		sync_file(node, before, has_failed);
		return;
	}
	for (size_t i = 0; i < node->name_count && !has_failed; i++)
		sync_name(node->names[i], before);
}

static struct sync *
find_sync(struct model *model, uint64_t which)
{
	for (size_t i = 0; i < model->sync_count; i++)
		if (model->syncs[i].which == which)
			return &model->syncs[i];
	return NULL;
}

static void
end_sync(struct model *model, const struct trace_event *event)
{
	struct sync *sync = find_sync(model, event->b);
	bool has_failed = event->c != 0;
	struct node *node;

	if (sync == NULL)
		die("a sync ends that never began");
	if (sync->inode == 0) {
		for (size_t i = 0; i < model->count; i++)
			if (!has_failed || model->nodes[i]->is_mail)
				sync_node(model->nodes[i], sync->seq,
					  has_failed);
	} else {
		node = model_node(model, sync->inode);
		/* the spool's own folder was there before */
		sync_node(node != NULL ? node : model->nodes[0], sync->seq,
			  has_failed);
	}
	*sync = model->syncs[--model->sync_count];
}

bool
model_covers(struct model *model, const struct trace_event *event,
	     const struct node *node, uint64_t *out_before)
{
	const struct sync *sync = find_sync(model, event->b);

	if (sync == NULL || event->c != 0)
		return false;
	if (sync->inode != 0 && model_node(model, sync->inode) != node)
		return false;
	*out_before = sync->seq;
	return true;
}

static bool
is_mail(const char *path)
{
	return strncmp(path, "msg/", 4) == 0;
}

void
model_apply(struct model *model, const struct trace_event *event,
	    const uint8_t *bytes, uint64_t seq)
{
	const char *path = (const char *)bytes, *to;
	struct node *node;
	struct name *from;

	switch ((enum trace_type)event->type) {
	case TRACE_WRITE:
		change_node(model, event, bytes, seq);
		return;
	case TRACE_SIZE:
		change_node(model, event, NULL, seq);
		return;
	case TRACE_CREATE:
	case TRACE_MKDIR:
		node = add_node(model, event->a, event->type == TRACE_MKDIR);
		node->is_mail = is_mail(path);
		(void)set_name(find_name(model, path), node, seq);
		return;
	case TRACE_UNLINK:
		(void)set_name(find_name(model, path), NULL, seq);
		return;
	case TRACE_RENAME:
		to = path + strlen(path) + 1;
		from = find_name(model, path);
		node = target(from);
		if (node != NULL && is_mail(to))
			node->is_mail = true;
		(void)set_name(find_name(model, to), node, seq);
		set_name(from, NULL, seq)->needs = find_name(model, to);
		return;
	case TRACE_SYNC_BEGIN:
		if (model->sync_count ==
		    sizeof(model->syncs) / sizeof(model->syncs[0]))
			die("too many syncs at once");
		model->syncs[model->sync_count++] =
			(struct sync){event->b, event->a, seq};
		return;
	case TRACE_SYNC_END:
		end_sync(model, event);
		return;
	case TRACE_SUBMITTED:
	case TRACE_ACKED:
	case TRACE_SETTLING:
	case TRACE_STATE:
	case TRACE_REPLACED:
	case TRACE_ID:
	case TRACE_WITH:
		return;
	}
	die("an event of no known type");
}

/* ---------------------------------------------------------------- states */

/* How many of count changes happened. */
static size_t
pick_random(const struct model *model, size_t count, uint64_t *dice)
{
	if (model_throw(dice, 100) < model->share)
		return count;
	return model_throw(dice, (unsigned)count + 1);
}

static void
pick_name(struct model *model, struct name *name, enum crash_kind kind,
	  uint64_t *dice)
{
	name->picked = 0;
	switch (kind) {
	case CRASH_NOTHING:
		return;
	case CRASH_ALL:
	case CRASH_NAMES:
		name->picked = name->count;
		return;
	case CRASH_CUT:
		while (name->picked < name->count &&
		       name->namings[name->picked].seq <= model->cut)
			name->picked++;
		return;
	case CRASH_RANDOM:
	case CRASH_BYTES:
		name->picked = pick_random(model, name->count, dice);
		return;
	}
}

/* A rename that took the old name away has given the new one. */
static void
complete_rename(const struct name *name)
{
	for (size_t i = 0; i < name->picked; i++) {
		const struct naming *naming = &name->namings[i];

		while (naming->needs != NULL &&
		       naming->needs->picked < naming->needs->count &&
		       naming->needs->namings[naming->needs->picked].seq <=
			       naming->seq)
			naming->needs->picked++;
	}
}

/* What of a file happened. */
struct picked_file {
	size_t changes; /* sizes: so many of the changes count */
	uint32_t *left; /* by sector: so many contents are still to come */
	size_t sectors;
};

static bool
is_stale(const struct node *node, size_t sector, const struct change *change)
{
	return sector < node->sectors && node->stamps[sector] > change->seq;
}

/* Throws for each sector which of its contents it has. */
static void
pick_sectors(const struct model *model, const struct node *node,
	     struct picked_file *picked, uint64_t *dice)
{
	size_t end = 0;

	for (size_t i = 0; i < node->change_count; i++)
		if (node->changes[i].bytes != NULL &&
		    node->changes[i].at + node->changes[i].len > end)
			end = (size_t)node->changes[i].at +
			      node->changes[i].len;
	picked->sectors = (end + SECTOR - 1) / SECTOR;
	picked->left =
		mem_zalloc((picked->sectors + 1) * sizeof(*picked->left));
	for (size_t i = 0; i < node->change_count; i++) {
		const struct change *change = &node->changes[i];

		if (change->bytes == NULL || change->len == 0)
			continue;
		for (size_t k = change->at / SECTOR;
		     k <= (change->at + change->len - 1) / SECTOR; k++)
			picked->left[k]++;
	}
	for (size_t k = 0; k < picked->sectors; k++)
		if (picked->left[k] != 0)
			picked->left[k] =
				(uint32_t)pick_random(model, picked->left[k],
						      dice);
}

static void
apply_write(const struct node *node, const struct change *change, size_t end,
	    struct picked_file *picked, uint8_t *bytes)
{
	uint64_t at = change->at;

	while (at < end) {
		size_t sector = (size_t)at / SECTOR;
		uint64_t next = (uint64_t)(sector + 1) * SECTOR;
		size_t len = (size_t)((next < end ? next : end) - at);

		if (picked->left != NULL) {
			if (picked->left[sector] != 0) {
				picked->left[sector]--;
				if (!is_stale(node, sector, change))
					memcpy(bytes + at,
					       change->bytes + at - change->at,
					       len);
			}
		} else if (!is_stale(node, sector, change)) {
			memcpy(bytes + at, change->bytes + at - change->at,
			       len);
		}
		at += len;
	}
}

/* The bytes of a file in the state at hand. */
static uint8_t *
make_bytes(struct model *model, const struct node *node, enum crash_kind kind,
	   uint64_t *dice, size_t *out_len)
{
	struct picked_file picked = {.changes = node->change_count};
	size_t len = node->len, size = node->len;
	uint8_t *bytes;

	for (size_t i = 0; i < node->change_count; i++) {
		uint64_t end = node->changes[i].at + node->changes[i].len;

		if (end > size)
			size = (size_t)end;
	}
	bytes = mem_zalloc(size + 1);
	if (len != 0)
		memcpy(bytes, node->bytes, len);
	*out_len = len;
	if (kind == CRASH_NOTHING || node->change_count == 0)
		return bytes;
	if (kind == CRASH_RANDOM || kind == CRASH_NAMES) {
		picked.changes = pick_random(model, node->change_count, dice);
		pick_sectors(model, node, &picked, dice);
	}
	for (size_t i = 0; i < node->change_count; i++) {
		const struct change *change = &node->changes[i];
		uint64_t end = change->at + change->len;

		if (kind == CRASH_CUT && change->seq > model->cut)
			break;
		if (kind == CRASH_CUT && change->seq == model->cut)
			end -= change->len -
			       model_throw(dice,
					   (unsigned)change->len / SECTOR + 1) *
				       SECTOR;
		if (change->bytes == NULL) {
			if (i >= picked.changes)
				continue;
			if (change->at < len)
				memset(bytes + change->at, 0,
				       len - (size_t)change->at);
			len = (size_t)change->at;
			continue;
		}
		apply_write(node, change, (size_t)end, &picked, bytes);
		if (i < picked.changes && end > len)
			len = (size_t)end;
	}
	if (len < size)
		memset(bytes + len, 0, size - len);
	free(picked.left);
	*out_len = len;
	return bytes;
}

static void
write_file(struct model *model, const struct node *node, enum crash_kind kind,
	   uint64_t *dice, const char *path)
{
	size_t len, have = 0;
	uint8_t *bytes = make_bytes(model, node, kind, dice, &len);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die("a state cannot be written");
	while (have < len) {
		ssize_t wrote = write(fd, bytes + have, len - have);

		if (wrote <= 0)
			die("a state cannot be written");
		have += (size_t)wrote;
	}
	(void)close(fd); /* nothing of it has to last */
	free(bytes);
}

static void
write_folder(struct model *model, const struct node *folder,
	     enum crash_kind kind, uint64_t *dice, const char *path)
{
	char below[4096];

	for (size_t i = 0; i < folder->name_count; i++) {
		const struct name *name = folder->names[i];
		const struct node *node =
			name->picked != 0 ? name->namings[name->picked - 1].node
					  : name->durable;

		if (node == NULL)
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, name->text);
		if (!node->is_folder) {
			write_file(model, node, kind, dice, below);
			continue;
		}
		if (mkdir(below, 0700) < 0)
			die("a folder of a state cannot be made");
		write_folder(model, node, kind, dice, below);
	}
}

/* A moment between the oldest change that is not durable and now. */
static uint64_t
pick_cut(const struct model *model, uint64_t *dice)
{
	uint64_t cut = 0;
	unsigned seen = 0;

	for (size_t i = 0; i < model->count; i++) {
		const struct node *node = model->nodes[i];

		for (size_t k = 0; k < node->change_count; k++)
			if (model_throw(dice, ++seen) == 0)
				cut = node->changes[k].seq;
		for (size_t k = 0; k < node->name_count; k++)
			for (size_t n = 0; n < node->names[k]->count; n++)
				if (model_throw(dice, ++seen) == 0)
					cut = node->names[k]->namings[n].seq;
	}
	return cut;
}

void
model_write(struct model *model, enum crash_kind kind, uint64_t *dice,
	    const char *dir)
{
	static const unsigned shares[] = {5, 50, 90};

	model->share = shares[model_throw(dice, 3)];
	model->cut = kind == CRASH_CUT ? pick_cut(model, dice) : 0;
	for (size_t i = 0; i < model->count; i++)
		for (size_t k = 0; k < model->nodes[i]->name_count; k++)
			pick_name(model, model->nodes[i]->names[k], kind, dice);
	for (size_t i = 0; i < model->count; i++)
		for (size_t k = 0; k < model->nodes[i]->name_count; k++)
			complete_rename(model->nodes[i]->names[k]);
	write_folder(model, model->nodes[0], kind, dice, dir);
}
