/* SPDX-License-Identifier: ISC */
/*
 * A shared object for LD_PRELOAD that lets one allocation of a program fail.
 *
 *	OSTLER_SCARCE  a file of two 64-bit numbers, which whoever drives the
 *		       program has open as well: how many allocations from now
 *		       on the failing one is (0: none; it is 0 again when it
 *		       has failed), and how many there were
 *
 * All ways to allocate count, those of libraries too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct shared {
	_Atomic int64_t left, seen;
};

static struct shared *shared;
static void *(*real_malloc)(size_t size);
static void *(*real_calloc)(size_t count, size_t size);
static void *(*real_realloc)(void *old, size_t size);
static void (*real_free)(void *old);
static void *(*real_aligned_alloc)(size_t align, size_t size);
static int (*real_posix_memalign)(void **out, size_t align, size_t size);
static int (*real_getattr)(pthread_t thread, pthread_attr_t *out);

/* For what dlsym itself allocates before the real ones are known. */
static char early[65536];
static size_t early_used;
static bool is_asking;

static void *
early_alloc(size_t size)
{
	size_t at = (early_used + 15) & ~(size_t)15;

	if (size > sizeof(early) - at)
		abort();
	early_used = at + size;
	return early + at; /* zero, and never given back */
}

static bool
is_early(const void *at)
{
	return (const char *)at >= early &&
	       (const char *)at < early + sizeof(early);
}

static void
ask(void)
{
	is_asking = true;
	*(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
	*(void **)&real_calloc = dlsym(RTLD_NEXT, "calloc");
	*(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
	*(void **)&real_free = dlsym(RTLD_NEXT, "free");
	*(void **)&real_aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
	*(void **)&real_posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
	*(void **)&real_getattr = dlsym(RTLD_NEXT, "pthread_getattr_np");
	is_asking = false;
}

__attribute__((constructor)) static void
start(void)
{
	const char *path = getenv("OSTLER_SCARCE");
	long fd = path == NULL ? -1
			       : syscall(SYS_openat, AT_FDCWD, path,
					 O_RDWR | O_CLOEXEC);
	void *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
		  (int)fd, 0);
	if (at != MAP_FAILED)
		shared = at;
	(void)close((int)fd); /* the mapping stays */
}

/* The sanitizer asks for the stack of each thread that begins, and ends the
 * program when glibc has no memory to answer: that is not the program's. */
static _Thread_local bool is_sanitizers;

static bool
is_refused(void)
{
	if (shared == NULL || is_sanitizers)
		return false;
	atomic_fetch_add(&shared->seen, 1);
	if (atomic_load(&shared->left) <= 0 ||
	    atomic_fetch_sub(&shared->left, 1) != 1)
		return false;
	errno = ENOMEM;
	return true;
}

int
pthread_getattr_np(pthread_t thread, pthread_attr_t *out)
{
	int rc;

	is_sanitizers = true;
	if (real_getattr == NULL)
		ask();
	rc = real_getattr(thread, out);
	is_sanitizers = false;
	return rc;
}

void *
malloc(size_t size)
{
	if (real_malloc == NULL && !is_asking)
		ask();
	if (real_malloc == NULL)
		return early_alloc(size);
	return is_refused() ? NULL : real_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
	if (real_calloc == NULL && !is_asking)
		ask();
	if (real_calloc == NULL)
		return early_alloc(count * size);
	return is_refused() ? NULL : real_calloc(count, size);
}

void *
realloc(void *old, size_t size)
{
	if (real_realloc == NULL && !is_asking)
		ask();
	if (is_early(old)) {
		void *at = malloc(size);
		size_t there = (size_t)(early + sizeof(early) - (char *)old);

		if (at != NULL)
			memcpy(at, old, size < there ? size : there);
		return at;
	}
	if (real_realloc == NULL)
		return early_alloc(size);
	return is_refused() ? NULL : real_realloc(old, size);
}

void *
reallocarray(void *old, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(old, bytes);
}

void *
aligned_alloc(size_t align, size_t size)
{
	if (real_aligned_alloc == NULL && !is_asking)
		ask();
	return is_refused() ? NULL : real_aligned_alloc(align, size);
}

int
posix_memalign(void **out, size_t align, size_t size)
{
	if (real_posix_memalign == NULL && !is_asking)
		ask();
	return is_refused() ? ENOMEM : real_posix_memalign(out, align, size);
}

void
free(void *old)
{
	if (is_early(old))
		return;
	if (real_free == NULL && !is_asking)
		ask();
	if (real_free != NULL)
		real_free(old);
}
