/* SPDX-License-Identifier: ISC */
#include "server/config_report.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/mem.h"

/* What stands in a file, or is its name, must not begin a line of its own. */
static void
clean(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void
report_add(const struct config_report *report, struct buf *to, const char *at,
	   const char *format, va_list args)
{
	char text[2048], *place = mem_strdup(at != NULL ? at : report->file);

	(void)vsnprintf(text, sizeof(text), format, args);
	clean(text);
	clean(place);
	/* what no longer fits has enough before it to read */
	(void)buf_addf(to, "%s: %s\n", place, text);
	free(place);
}

void
config_error(struct config_report *report, const char *at, const char *format,
	     ...)
{
	va_list args;

	if (report->has_syntax_error)
		return;
	report->has_errors = true;
	va_start(args, format);
	report_add(report, report->errors, at, format, args);
	va_end(args);
}

void
config_warn(struct config_report *report, const char *at, const char *format,
	    ...)
{
	va_list args;

	va_start(args, format);
	report_add(report, report->warnings, at, format, args);
	va_end(args);
}

void
config_syntax_error(struct config_report *report, const char *at,
		    const char *format, ...)
{
	va_list args;

	if (report->has_syntax_error)
		return;
	report->has_errors = report->has_syntax_error = true;
	buf_clear(report->errors);
	va_start(args, format);
	report_add(report, report->errors, at, format, args);
	va_end(args);
}
