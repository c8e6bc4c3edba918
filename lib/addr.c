/* SPDX-License-Identifier: ISC */
#include "lib/addr.h"

#include <stdlib.h>
#include <string.h>

#include <idn2.h>

#include "lib/ip.h"

/* 255 octets on the wire (RFC 1035, 3.1) are 253 with dots between labels */
#define DOMAIN_TEXT_MAX 253
#define LABEL_MAX	63

/* atext of RFC 5322, 3.2.3, as classes of bytes */
static bool
is_atext(unsigned char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9'))
		return true;
	return c != '\0' && c < 0x80 &&
	       strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL;
}

/* ---------------------------------------------------------------- domains */

static bool
is_label_byte(char c)
{
	/* the underscore is no LDH, but such hosts exist and get mail */
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_';
}

/* An ASCII domain without a trailing dot, lower-cased into to. */
static bool
domain_from_ascii(struct str domain, char *to, size_t size)
{
	size_t label = 0; /* where the present label begins */
	bool is_number = true;

	if (domain.len == 0 || domain.len > DOMAIN_TEXT_MAX ||
	    domain.len >= size)
		return false;
	for (size_t i = 0; i <= domain.len; i++) {
		char c = i < domain.len ? str_lower(domain.at[i]) : '.';

		if (c == '.') {
			if (i == label || i - label > LABEL_MAX ||
			    to[label] == '-' || to[i - 1] == '-')
				return false;
			if (i == domain.len)
				break;
			label = i + 1;
			is_number = true;
		} else if (!is_label_byte(c)) {
			return false;
		} else if (c < '0' || c > '9') {
			is_number = false;
		}
		to[i] = c;
	}
	/* no top-level domain is a number: this is an address without [] */
	if (is_number)
		return false;
	to[domain.len] = '\0';
	return true;
}

/* RFC 5890 to 5892 with the mapping of UTS 46: U-labels to A-labels. */
static bool
domain_from_utf8(struct str domain, char *to, size_t size)
{
	char copy[ADDR_DOMAIN_MAX * 4 + 1], *ascii = NULL;
	struct str result;
	bool ok;

	if (domain.len >= sizeof(copy) || !str_is_utf8(domain))
		return false;
	memcpy(copy, domain.at, domain.len);
	copy[domain.len] = '\0';
	if (strlen(copy) != domain.len ||
	    idn2_lookup_u8((const uint8_t *)copy, (uint8_t **)&ascii,
			   IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return false;
	/* The rules of STD 3 are domain_from_ascii's: libidn2's flag for them
	 * silently drops what breaks them instead of refusing it. */
	result = str_of(ascii);
	/* an ideographic full stop at the end became a dot */
	if (result.len > 1 && result.at[result.len - 1] == '.')
		result.len--;
	ok = domain_from_ascii(result, to, size);
	idn2_free(ascii);
	return ok;
}

/* "[" IPv4 "]" / "[IPv6:" IPv6 "]"                  RFC 5321, 4.1.3 */
static bool
domain_from_literal(struct str literal, char *to, size_t size)
{
	static const char tag[] = "IPv6:";
	char text[IP_TEXT_MAX];
	struct str inner;
	struct ip ip;
	size_t len;
	bool is_v6;

	if (literal.len < 3 || literal.at[literal.len - 1] != ']')
		return false;
	inner = str_from(literal.at + 1, literal.len - 2);
	is_v6 = str_starts_nocase(inner, tag);
	if (is_v6)
		inner = str_from(inner.at + sizeof(tag) - 1,
				 inner.len - (sizeof(tag) - 1));
	if (!ip_parse(inner, &ip))
		return false;
	/* ip_parse folds mapped IPv4, so the text tells the form, not ip */
	if (is_v6 != (memchr(inner.at, ':', inner.len) != NULL))
		return false;
	ip_format(&ip, text);
	len = strlen(text) + 2 + (ip.family == IP_V6 ? sizeof(tag) - 1 : 0);
	if (len >= size)
		return false;
	*to++ = '[';
	if (ip.family == IP_V6) {
		memcpy(to, tag, sizeof(tag) - 1);
		to += sizeof(tag) - 1;
	}
	memcpy(to, text, strlen(text));
	to += strlen(text);
	*to++ = ']';
	*to = '\0';
	return true;
}

bool
addr_normalize_domain(struct str domain, char *to, size_t size)
{
	char work[ADDR_DOMAIN_MAX + 1];
	bool ok;

	if (addr_is_literal(domain)) {
		ok = domain_from_literal(domain, work, sizeof(work));
	} else {
		if (domain.len != 0 && domain.at[domain.len - 1] == '.')
			domain.len--;
		ok = str_is_ascii(domain)
			     ? domain_from_ascii(domain, work, sizeof(work))
			     : domain_from_utf8(domain, work, sizeof(work));
	}
	if (!ok || strlen(work) >= size)
		return false;
	memcpy(to, work, strlen(work) + 1);
	return true;
}

/* -------------------------------------------------------------- mailboxes */

/* Atom *("." Atom); returns its length, 0 when there is none. */
static size_t
dot_string_len(struct str text)
{
	size_t i = 0;

	for (; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if (c == '.') {
			if (i == 0 || text.at[i - 1] == '.')
				return 0;
		} else if (!is_atext(c) && c < 0x80) {
			break;
		}
	}
	return i != 0 && text.at[i - 1] == '.' ? 0 : i;
}

/* Atoms with dots anywhere; its length, 0 when there is no atom. */
static size_t
loose_string_len(struct str text)
{
	bool has_atom = false;
	size_t i = 0;

	for (; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if (c != '.' && !is_atext(c) && c < 0x80)
			break;
		has_atom |= c != '.';
	}
	return has_atom ? i : 0;
}

/* DQUOTE *( qtextSMTP / quoted-pairSMTP ) DQUOTE; its length or 0. */
static size_t
quoted_string_len(struct str text)
{
	for (size_t i = 1; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if (c == '"')
			return i + 1;
		if (c == '\\') {
			i++;
			if (i == text.len)
				return 0;
			c = (unsigned char)text.at[i];
			if (c >= 0x80) /* quoted-pairSMTP is ASCII only */
				return 0;
		}
		if (c < ' ' || c == 0x7f)
			return 0;
	}
	return 0;
}

/* U+0080 to U+009F: some terminals obey them. */
static bool
has_c1_control(struct str text)
{
	for (size_t i = 0; i + 1 < text.len; i++)
		if ((unsigned char)text.at[i] == 0xc2 &&
		    (unsigned char)text.at[i + 1] < 0xa0)
			return true;
	return false;
}

/* Local part and what follows it. */
static bool
split_local(struct str text, unsigned flags, struct str *out_local,
	    struct str *out_rest, bool *out_wants_quotes)
{
	size_t len = text.at[0] == '"' ? quoted_string_len(text)
				       : dot_string_len(text);

	*out_wants_quotes =
		len == 0 && text.at[0] != '"' && (flags & ADDR_QUOTE_DOTS) != 0;
	if (*out_wants_quotes)
		len = loose_string_len(text);
	*out_local = str_from(text.at, len);
	*out_rest = str_from(text.at + len, text.len - len);
	return len != 0;
}

const char *
addr_parse(struct str text, unsigned flags, struct addr *out)
{
	char domain[ADDR_DOMAIN_MAX + 1] = "";
	struct str local, rest;
	size_t len, domain_len;
	bool is_utf8, wants_quotes;
	char *to = out->text;

	if (text.len == 0)
		return "empty address";
	if (!split_local(text, flags, &local, &rest, &wants_quotes))
		return "malformed local part";
	len = local.len + (wants_quotes ? 2 : 0);
	if (len > ADDR_LOCAL_LIMIT)
		return "local part too long";
	is_utf8 = !str_is_ascii(local);
	if (is_utf8 && !str_is_utf8(local))
		return "local part is not UTF-8";
	if (is_utf8 && has_c1_control(local))
		return "control character in local part";
	if (rest.len == 0 && (flags & ADDR_ALLOW_NO_DOMAIN) == 0)
		return "no domain";
	if (rest.len != 0 && rest.at[0] != '@')
		return "malformed local part";
	if ((flags & ADDR_ALLOW_UTF8) == 0 && !str_is_ascii(text))
		return "non-ASCII address without SMTPUTF8";
	if (rest.len != 0 &&
	    !addr_normalize_domain(str_from(rest.at + 1, rest.len - 1), domain,
				   sizeof(domain)))
		return "malformed domain";
	domain_len = strlen(domain);
	if (len + 1 + domain_len > ADDR_MAX)
		return "address too long";

	if (wants_quotes)
		*to++ = '"';
	memcpy(to, local.at, local.len);
	if (wants_quotes)
		to[local.len] = '"';
	if (domain_len != 0) {
		out->text[len] = '@';
		memcpy(out->text + len + 1, domain, domain_len);
		out->text[len + 1 + domain_len] = '\0';
	} else {
		out->text[len] = '\0';
	}
	out->local_len = (uint16_t)len;
	out->domain_len = (uint16_t)domain_len;
	out->is_utf8 = is_utf8;
	return NULL;
}

void
addr_local_plain(const struct addr *addr, char *to, size_t size)
{
	struct str local = addr_local(addr);
	bool is_quoted = local.len >= 2 && local.at[0] == '"';
	size_t used = 0;

	if (is_quoted)
		local = str_from(local.at + 1, local.len - 2);
	for (size_t i = 0; i < local.len && used + 1 < size; i++) {
		if (is_quoted && local.at[i] == '\\' && i + 1 < local.len)
			i++;
		to[used++] = local.at[i];
	}
	to[used] = '\0';
}

bool
addr_qualify(struct addr *addr, const char *domain)
{
	size_t len = strlen(domain);

	if (addr->local_len == 0 || addr->domain_len != 0)
		return true;
	if (len > ADDR_DOMAIN_MAX || addr->local_len + 1 + len > ADDR_MAX)
		return false;
	addr->text[addr->local_len] = '@';
	memcpy(addr->text + addr->local_len + 1, domain, len + 1);
	addr->domain_len = (uint16_t)len;
	return true;
}
