/* SPDX-License-Identifier: ISC */
/*
 * lib/mem.h - memory that is there or the program is not
 *
 * When memory is gone, one line goes to standard error and the process
 * aborts: what was acknowledged is in the spool, and no caller has to invent
 * a half-working path. Sizes therefore never come from a peer; foreign bytes
 * go into a struct buf whose maximum was set when it was made.
 */
#ifndef OSTLER_LIB_MEM_H
#define OSTLER_LIB_MEM_H

#include <stddef.h>

/* size bytes, uninitialised; the caller owns them. Never NULL. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));

/* size bytes of zero; the caller owns them. Never NULL. */
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull));

/*
 * Room for count elements of size bytes each, keeping what old held.
 *
 * old  takes; NULL is an empty array. Never returns NULL; count > 0.
 */
void *mem_resize(void *old, size_t count, size_t size)
	__attribute__((returns_nonnull));

/*
 * Room for one element more behind count, in an array that grows by this
 * alone: memory doubles, so that many appends stay cheap.
 *
 * old  takes; NULL when count is 0. Never returns NULL.
 */
void *mem_append(void *old, size_t count, size_t size)
	__attribute__((returns_nonnull));

/*
 * calloc and realloc as the C library has them, except that they do not fail:
 * for libraries that let us choose where they get their memory, and of which
 * none takes "there is none" well. mem_alloc and free complete the set.
 * Returns NULL for a size of 0 with an old block, which is freed.
 */
void *mem_library_calloc(size_t count, size_t size);
void *mem_library_realloc(void *old, size_t size);

/* A copy of len bytes with a NUL behind them. from may be NULL when len is 0.
 */
char *mem_dup(const void *from, size_t len) __attribute__((returns_nonnull));

/* A copy of the NUL-terminated text; NULL for NULL. */
char *mem_strdup(const char *text);

/* As printf, into new memory that the caller owns. */
char *mem_printf(const char *format, ...)
	__attribute__((format(printf, 1, 2), returns_nonnull));

/* Overwrites a secret in a way the compiler may not drop. */
void mem_wipe(void *at, size_t len);

/* mem_wipe over a NUL-terminated text, then free. NULL is fine. */
void mem_free_secret(char *text);

#endif
