/* SPDX-License-Identifier: ISC */
#include "queue/deliver/smtp_caps.h"

#include <string.h>

#include "lib/str.h"

/* Adds mechanism names; those that do not fit any more are left out. */
static void
caps_add_mechanisms(struct smtp_caps *caps, struct str names)
{
	struct str name;
	size_t len = strlen(caps->mechanisms);

	while (str_cut(&names, ' ', &name)) {
		if (name.len == 0 ||
		    len + name.len + 2 > sizeof(caps->mechanisms))
			continue;
		if (len != 0)
			caps->mechanisms[len++] = ' ';
		memcpy(caps->mechanisms + len, name.at, name.len);
		len += name.len;
		caps->mechanisms[len] = '\0';
	}
}

/* ehlo-line = ehlo-keyword *( SP ehlo-param ) */
static void
caps_line(struct smtp_caps *caps, struct str line)
{
	struct str keyword;

	/* old servers announce "AUTH=LOGIN" besides or instead of "AUTH" */
	if (str_starts_nocase(line, "AUTH=")) {
		caps_add_mechanisms(caps, str_from(line.at + 5, line.len - 5));
		return;
	}
	if (!str_cut(&line, ' ', &keyword))
		return;
	if (str_is_nocase(keyword, "PIPELINING")) {
		caps->has_pipelining = true;
	} else if (str_is_nocase(keyword, "CHUNKING")) {
		caps->has_chunking = true;
	} else if (str_is_nocase(keyword, "8BITMIME")) {
		caps->has_8bitmime = true;
	} else if (str_is_nocase(keyword, "SMTPUTF8")) {
		caps->has_smtputf8 = true;
	} else if (str_is_nocase(keyword, "DSN")) {
		caps->has_dsn = true;
	} else if (str_is_nocase(keyword, "STARTTLS")) {
		caps->has_starttls = true;
	} else if (str_is_nocase(keyword, "AUTH")) {
		caps_add_mechanisms(caps, line);
	} else if (str_is_nocase(keyword, "SIZE")) {
		caps->has_size = true;
		if (!str_u64(str_trim(line), UINT64_MAX, &caps->size))
			caps->size = 0;
	}
}

void
smtp_caps_parse(const char *lines, struct smtp_caps *out)
{
	struct str rest = str_of(lines), line;
	bool is_first = true;

	memset(out, 0, sizeof(*out));
	while (str_cut(&rest, '\n', &line)) {
		/* the first line is the server's name and greeting */
		if (!is_first && line.len > 4)
			caps_line(out, str_trim(str_from(line.at + 4,
							 line.len - 4)));
		is_first = false;
	}
}
