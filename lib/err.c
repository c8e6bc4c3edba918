/* SPDX-License-Identifier: ISC */
#include "lib/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"

int
err_set(struct err *err, int code, const char *format, ...)
{
	va_list args;
	size_t len;

	if (err == NULL)
		return code;
	err->code = code;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	str_mend_end(err->text); /* where it was cut */
	len = strlen(err->text);
	/* a cut text still says what failed */
	(void)snprintf(err->text + len, sizeof(err->text) - len, ": %s",
		       strerror(-code));
	return code;
}

int
err_text(struct err *err, int code, const char *format, ...)
{
	va_list args;

	if (err == NULL)
		return code;
	err->code = code;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	str_mend_end(err->text); /* where it was cut */
	return code;
}
