/* SPDX-License-Identifier: ISC */
#include "server/file_watch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/mem.h"
#include "lib/work.h"

/* What is the same as long as the content is. */
struct file_mark {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

struct file_seen {
	char *path; /* owns */
	bool is_there;
	struct file_mark mark;
};

struct file_look {
	struct work_job job;
	struct file_watch *watch;
	struct file_seen *files; /* owns; a copy, as the worker saw them */
	size_t count;
};

struct file_watch {
	uv_loop_t *loop;
	uv_timer_t timer;
	struct file_look *look; /* runs now, or NULL */
	uint64_t looks;		/* done; the first one makes the marks */
	struct file_seen *files;
	size_t count;
	void (*on_change)(void *owner, const char *path);
	void *owner;
};

static void
files_free(struct file_seen *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(files[i].path);
	free(files);
}

static bool
marks_equal(const struct file_mark *a, const struct file_mark *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec;
}

static void
look_run(struct work_job *job)
{
	struct file_look *look = container_of(job, struct file_look, job);

	for (size_t i = 0; i < look->count; i++) {
		struct file_seen *file = &look->files[i];
		struct stat st;

		file->is_there = stat(file->path, &st) == 0;
		if (!file->is_there)
			continue;
		file->mark.dev = st.st_dev;
		file->mark.ino = st.st_ino;
		file->mark.size = st.st_size;
		file->mark.changed = st.st_mtim;
	}
}

static void
look_done(struct work_job *job)
{
	struct file_look *look = container_of(job, struct file_look, job);
	struct file_watch *watch = look->watch;
	const char *changed = NULL;

	watch->look = NULL;
	for (size_t i = 0; i < look->count; i++) {
		const struct file_seen *now = &look->files[i];
		struct file_seen *before = &watch->files[i];

		if (!now->is_there)
			continue;
		if (watch->looks != 0 &&
		    (!before->is_there ||
		     !marks_equal(&now->mark, &before->mark)))
			changed = now->path;
		before->is_there = true;
		before->mark = now->mark;
	}
	watch->looks++;
	if (changed != NULL) /* last: the owner may free us */
		watch->on_change(watch->owner, changed);
}

static void
look_free(struct work_job *job)
{
	struct file_look *look = container_of(job, struct file_look, job);

	files_free(look->files, look->count);
	free(look);
}

static void
watch_look(struct file_watch *watch)
{
	struct file_look *look;

	if (watch->look != NULL || watch->count == 0)
		return; /* a file system that hangs holds one worker, not all */
	look = mem_zalloc(sizeof(*look));
	look->watch = watch;
	look->count = watch->count;
	look->files = mem_zalloc(watch->count * sizeof(*look->files));
	for (size_t i = 0; i < watch->count; i++)
		look->files[i].path = mem_strdup(watch->files[i].path);
	look->job.run = look_run;
	look->job.done = look_done;
	look->job.free_job = look_free;
	watch->look = look;
	work_start(watch->loop, &look->job, NULL);
}

static void
on_timer(uv_timer_t *timer)
{
	watch_look(timer->data);
}

struct file_watch *
file_watch_new(uv_loop_t *loop,
	       void (*on_change)(void *owner, const char *path), void *owner)
{
	struct file_watch *watch = mem_zalloc(sizeof(*watch));

	watch->loop = loop;
	watch->on_change = on_change;
	watch->owner = owner;
	(void)uv_timer_init(loop, &watch->timer); /* cannot fail */
	watch->timer.data = watch;
	return watch;
}

static void
watch_forget(struct file_watch *watch)
{
	if (watch->look != NULL)
		work_detach(&watch->look->job);
	watch->look = NULL;
	files_free(watch->files, watch->count);
	watch->files = NULL;
	watch->count = 0;
	watch->looks = 0;
}

void
file_watch_set(struct file_watch *watch, const char *const *paths, size_t count,
	       uint64_t interval_ms)
{
	watch_forget(watch);
	(void)uv_timer_stop(&watch->timer);
	if (interval_ms == 0 || count == 0)
		return;
	watch->count = count;
	watch->files = mem_zalloc(count * sizeof(*watch->files));
	for (size_t i = 0; i < count; i++)
		watch->files[i].path = mem_strdup(paths[i]);
	watch_look(watch);
	(void)uv_timer_start(&watch->timer, on_timer, interval_ms, interval_ms);
}

uint64_t
file_watch_looks(const struct file_watch *watch)
{
	return watch->looks;
}

static void
on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
file_watch_free(struct file_watch *watch)
{
	if (watch == NULL)
		return;
	watch_forget(watch);
	uv_close((uv_handle_t *)&watch->timer, on_timer_closed);
}
