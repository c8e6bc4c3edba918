/* SPDX-License-Identifier: ISC */
#include "lib/mem.h"

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *
mem_check(void *got)
{
	static const char line[] = "error memory-exhausted action=abort\n";

	if (got == NULL) {
		/* nothing can be done when even this fails */
		(void)!write(STDERR_FILENO, line, sizeof(line) - 1);
		(void)signal(SIGABRT, SIG_DFL); /* all was said */
		abort();
	}
	return got;
}

void *
mem_alloc(size_t size)
{
	return mem_check(malloc(size != 0 ? size : 1));
}

void *
mem_zalloc(size_t size)
{
	return mem_check(calloc(1, size != 0 ? size : 1));
}

void *
mem_resize(void *old, size_t count, size_t size)
{
	return mem_check(reallocarray(old, count, size));
}

void *
mem_append(void *old, size_t count, size_t size)
{
	/* a power of two is full */
	if ((count & (count - 1)) != 0)
		return old;
	return mem_resize(old, count != 0 ? count * 2 : 1, size);
}

void *
mem_library_calloc(size_t count, size_t size)
{
	bool is_some = count != 0 && size != 0;

	return mem_check(is_some ? calloc(count, size) : calloc(1, 1));
}

void *
mem_library_realloc(void *old, size_t size)
{
	if (size == 0 && old != NULL) {
		free(old);
		return NULL;
	}
	return mem_check(realloc(old, size != 0 ? size : 1));
}

char *
mem_dup(const void *from, size_t len)
{
	char *copy = mem_alloc(len + 1);

	if (len != 0)
		memcpy(copy, from, len);
	copy[len] = '\0';
	return copy;
}

char *
mem_strdup(const char *text)
{
	return text != NULL ? mem_dup(text, strlen(text)) : NULL;
}

char *
mem_printf(const char *format, ...)
{
	char *text;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	return mem_check(len < 0 ? NULL : text);
}

void
mem_wipe(void *at, size_t len)
{
	if (len != 0)
		explicit_bzero(at, len);
}

void
mem_free_secret(char *text)
{
	if (text == NULL)
		return;
	mem_wipe(text, strlen(text));
	free(text);
}
