/* SPDX-License-Identifier: ISC */
#include "lib/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/str.h"

/*
 * RFC 3463, section 2: status-code = class "." subject "." detail, subject
 * and detail being one to three digits
 */
unsigned
status_parse_enhanced(const char *text, unsigned len, struct status *out)
{
	unsigned at = 0, part[3] = {0, 0, 0};

	for (unsigned i = 0; i < 3; i++) {
		unsigned digits = 0;

		while (at < len && text[at] >= '0' && text[at] <= '9' &&
		       digits < 3) {
			part[i] = part[i] * 10 + (unsigned)(text[at] - '0');
			at++;
			digits++;
		}
		if (digits == 0 || (i == 0 && digits != 1))
			return 0;
		if (i < 2) {
			if (at >= len || text[at] != '.')
				return 0;
			at++;
		}
	}
	if (part[0] != 2 && part[0] != 4 && part[0] != 5)
		return 0;
	if (at < len && text[at] != ' ' && text[at] != '\t' &&
	    text[at] != '\r' && text[at] != '\n')
		return 0;
	out->class = (uint8_t)part[0];
	out->subject = (uint16_t)part[1];
	out->detail = (uint16_t)part[2];
	return at;
}

void
status_set(struct status *status, unsigned code, const char *enhanced,
	   const char *format, ...)
{
	va_list args;

	status->code = (uint16_t)code;
	status->class = 0;
	status->subject = status->detail = 0;
	if (enhanced != NULL)
		(void)status_parse_enhanced(enhanced,
					    (unsigned)strlen(enhanced), status);
	if (strchr(format, '%') == NULL) {
		/* most replies, and printf takes ten times as long */
		(void)str_copy(status->text, sizeof(status->text),
			       str_of(format));
	} else {
		va_start(args, format);
		(void)vsnprintf(status->text, sizeof(status->text), format,
				args);
		va_end(args);
		str_mend_end(status->text);
	}
	for (char *c = status->text; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

char *
status_enhanced(const struct status *status, char to[12])
{
	char *at = to;

	to[0] = '\0';
	if (status->class == 0)
		return to;
	at = str_digits(at, status->class % 10u, 1);
	*at++ = '.';
	at = str_digits(at, status->subject % 1000u, 1);
	*at++ = '.';
	(void)str_digits(at, status->detail % 1000u, 1);
	return to;
}
