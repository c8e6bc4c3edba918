/* SPDX-License-Identifier: ISC */
#include "lib/wire/smtp_args.h"

#include <string.h>

/* Says no: the reply, and false to return. */
#define REFUSE(status, ...) (status_set(status, __VA_ARGS__), false)

/* A peer's word within a reply: cut, so that the reason still fits behind it,
 * and ASCII, since a reply is (RFC 5321, 2.4). */
#define ECHO_MAX 60

static const char *
echo(struct str word, char to[ECHO_MAX + 1])
{
	size_t len = word.len < ECHO_MAX ? word.len : ECHO_MAX;

	for (size_t i = 0; i < len; i++)
		to[i] = (unsigned char)word.at[i] < 0x80 ? word.at[i] : '?';
	to[len] = '\0';
	return to;
}

static bool
is_printable(unsigned char c)
{
	return c > ' ' && c < 0x7f;
}

/* ------------------------------------------------------------------ xtext */

/* RFC 3461, 4: xchar is "!" to "~" without "+" and "=" */
static bool
is_xchar(unsigned char c)
{
	return is_printable(c) && c != '+' && c != '=';
}

/* RFC 3461: hexchar takes upper case digits only; lower case is in use. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = str_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
smtp_xtext_decode(struct str from, char *to, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < from.len; i++) {
		unsigned char c = (unsigned char)from.at[i];

		if (used + 1 >= size)
			return false;
		if (c == '+') {
			int high = i + 2 < from.len ? hex_digit(from.at[i + 1])
						    : -1;
			int low = high >= 0 ? hex_digit(from.at[i + 2]) : -1;

			if (low < 0 || high * 16 + low == 0)
				return false;
			c = (unsigned char)(high * 16 + low);
			i += 2;
		} else if (!is_xchar(c)) {
			return false;
		}
		to[used++] = (char)c;
	}
	to[used] = '\0';
	return true;
}

/* xtext whose meaning is printable ASCII and spaces: it ends up in the header
 * of a report (RFC 3461, 4.2 and 4.4). */
static bool
is_harmless_xtext(struct str xtext)
{
	char plain[SMTP_ORCPT_MAX + 1];

	if (!smtp_xtext_decode(xtext, plain, sizeof(plain)))
		return false;
	for (const char *c = plain; *c != '\0'; c++)
		if (*c != ' ' && !is_printable((unsigned char)*c))
			return false;
	return true;
}

/* ------------------------------------------------------- EHLO, HELO, LHLO */

bool
smtp_args_helo(struct str arg, struct smtp_helo *out, struct status *status)
{
	struct smtp_helo helo = {.kind = SMTP_HELO_DOMAIN};

	if (arg.len == 0)
		return REFUSE(status, 501, "5.5.4",
			      "A host name has to follow");
	if (arg.len > ADDR_DOMAIN_MAX)
		return REFUSE(status, 501, "5.5.4", "Host name too long");
	for (size_t i = 0; i < arg.len; i++) {
		unsigned char c = (unsigned char)arg.at[i];

		if (c <= ' ' || c == 0x7f || strchr("()<>,;\"\\", c) != NULL)
			return REFUSE(status, 501, "5.5.4",
				      "Host name has a character that none "
				      "may have");
	}
	if (addr_normalize_domain(arg, helo.name, sizeof(helo.name))) {
		if (addr_is_literal(str_of(helo.name)))
			helo.kind = SMTP_HELO_LITERAL;
	} else {
		helo.kind = SMTP_HELO_ODD;
		for (size_t i = 0; i < arg.len; i++)
			helo.name[i] = (unsigned char)arg.at[i] < 0x80
					       ? arg.at[i]
					       : '?';
	}
	*out = helo;
	return true;
}

/* ----------------------------------------------------- paths of MAIL, RCPT */

struct path {
	const char *keyword; /* "FROM:" */
	const char *syntax;
	const char *bad_address; /* enhanced code */
	struct str address;	 /* between < and >, source route gone */
	struct str params;	 /* what follows */
};

/*
 * A-d-l ":" = "@" Domain *("," "@" Domain) ":"      RFC 5321, 4.1.2
 *
 * Returns how long it is, 0 when there is none or it is malformed (the
 * address then begins with "@" and is refused as such).
 */
static size_t
source_route_len(struct str path)
{
	const char *colon;
	struct str route, hop;
	char domain[ADDR_DOMAIN_MAX + 1];
	size_t at = 0;
	bool is_literal = false;

	if (path.len == 0 || path.at[0] != '@')
		return 0;
	/* the colon behind it, not one within an address literal */
	while (at < path.len && (path.at[at] != ':' || is_literal)) {
		if (path.at[at] == '[')
			is_literal = true;
		else if (path.at[at] == ']')
			is_literal = false;
		at++;
	}
	if (path.len - at <= 1) /* no colon, or nothing behind it */
		return 0;
	colon = path.at + at;
	route = str_from(path.at, (size_t)(colon - path.at));
	if (route.at[route.len - 1] == ',')
		return 0;
	while (str_cut(&route, ',', &hop))
		if (hop.len < 2 || hop.at[0] != '@' ||
		    !addr_normalize_domain(str_from(hop.at + 1, hop.len - 1),
					   domain, sizeof(domain)))
			return 0;
	return at + 1;
}

/* Where the ">" of a path is that begins behind "<"; quotes hide it. */
static size_t
path_len(struct str text)
{
	bool is_quoted = false;

	for (size_t i = 0; i < text.len; i++) {
		if (is_quoted && text.at[i] == '\\')
			i++;
		else if (text.at[i] == '"')
			is_quoted = !is_quoted;
		else if (text.at[i] == '>' && !is_quoted)
			return i;
	}
	return text.len;
}

/*
 * "user@example.org parameters", which is no path (RFC 5321, 4.1.2). Without
 * "@" it might be a parameter, and with quotes or brackets it might mean
 * something else than it says here: these stay refused.
 */
static bool
split_bare(struct str arg, struct path *path)
{
	struct str address = arg;
	bool has_at = false;

	for (address.len = 0; address.len < arg.len; address.len++) {
		char c = arg.at[address.len];

		if (c == ' ' || c == '\t')
			break;
		if (strchr("<>\"\\(),:;", c) != NULL)
			return false;
		has_at |= c == '@';
	}
	path->address = address;
	path->params = str_from(arg.at + address.len, arg.len - address.len);
	return has_at;
}

/* Cuts "FROM:<...> parameters" into its parts. */
static bool
split_path(struct str arg, unsigned flags, struct path *path,
	   struct status *status)
{
	size_t len = strlen(path->keyword);

	if (!str_starts_nocase(arg, path->keyword))
		return REFUSE(status, 501, "5.5.4", "Syntax: %s", path->syntax);
	arg = str_trim(str_from(arg.at + len, arg.len - len));
	if ((flags & SMTP_ARGS_LENIENT) != 0 && arg.len != 0 &&
	    arg.at[0] != '<' && split_bare(arg, path))
		return true;
	if (arg.len == 0 || arg.at[0] != '<')
		return REFUSE(status, 501, "5.5.4",
			      "Syntax: %s: the address stands in <>",
			      path->syntax);
	arg = str_from(arg.at + 1, arg.len - 1);
	len = path_len(arg);
	if (len == arg.len)
		return REFUSE(status, 501, "5.5.4",
			      "Syntax: %s: no > behind the address",
			      path->syntax);
	path->address = str_from(arg.at, len);
	path->params = str_from(arg.at + len + 1, arg.len - len - 1);
	if (path->params.len != 0 && path->params.at[0] != ' ' &&
	    path->params.at[0] != '\t')
		return REFUSE(status, 501, "5.5.4",
			      "Syntax: %s: text behind the >", path->syntax);
	len = source_route_len(path->address);
	path->address.at += len;
	path->address.len -= len;
	return true;
}

/* enum smtp_args_flags to enum addr_flags */
static unsigned
address_flags(unsigned flags)
{
	return ((flags & SMTP_ARGS_NO_DOMAIN) != 0 ? ADDR_ALLOW_NO_DOMAIN
						   : 0u) |
	       ((flags & SMTP_ARGS_LENIENT) != 0 ? ADDR_QUOTE_DOTS : 0u);
}

static bool
parse_path(const struct path *path, bool is_utf8, unsigned flags,
	   struct addr *out, struct status *status)
{
	char shown[ECHO_MAX + 1];
	const char *wrong;

	if (!is_utf8 && !str_is_ascii(path->address))
		return REFUSE(status, 553, "5.6.7",
			      "Address is not ASCII and SMTPUTF8 was not "
			      "given");
	wrong = addr_parse(path->address,
			   (is_utf8 ? ADDR_ALLOW_UTF8 : 0u) | flags, out);
	if (wrong != NULL)
		return REFUSE(status, 501, path->bad_address,
			      "<%s>: Bad address syntax: %s",
			      echo(path->address, shown), wrong);
	return true;
}

/* -------------------------------------------------------------- parameters */

/* "NAME=VALUE" or "NAME"; more than one space between two is passed over. */
struct param {
	struct str name, value;
	bool has_value;
};

static bool
next_param(struct str *rest, struct param *out)
{
	struct str word, name;

	*rest = str_trim(*rest);
	if (rest->len == 0)
		return false;
	word = *rest;
	for (word.len = 0; word.len < rest->len; word.len++)
		if (rest->at[word.len] == ' ' || rest->at[word.len] == '\t')
			break;
	rest->at += word.len;
	rest->len -= word.len;

	name = word;
	for (name.len = 0; name.len < word.len; name.len++)
		if (word.at[name.len] == '=')
			break;
	out->name = name;
	out->has_value = name.len < word.len;
	out->value = out->has_value ? str_from(word.at + name.len + 1,
					       word.len - name.len - 1)
				    : str_from(word.at + word.len, 0);
	return true;
}

static bool
refuse_value(const char *name, struct status *status)
{
	return REFUSE(status, 501, "5.5.4", "Bad value of parameter %s", name);
}

/* One parameter of a table: returns false for a bad value. */
struct param_kind {
	const char *name;
	unsigned ext;
	bool (*take)(struct param param, void *out);
};

/* All parameters, each known, offered, good and given once. */
static bool
take_params(struct str rest, unsigned ext, const struct param_kind *kinds,
	    void *out, struct status *status)
{
	char shown[ECHO_MAX + 1];
	struct param param;
	unsigned seen = 0;

	while (next_param(&rest, &param)) {
		const struct param_kind *kind = kinds;

		while (kind->name != NULL &&
		       !str_is_nocase(param.name, kind->name))
			kind++;
		if (kind->name == NULL || (ext & kind->ext) == 0)
			return REFUSE(status, 555, "5.5.4",
				      "Unsupported parameter %s",
				      echo(param.name, shown));
		if ((seen & (1u << (kind - kinds))) != 0)
			return REFUSE(status, 501, "5.5.4",
				      "Parameter %s was given twice",
				      kind->name);
		seen |= 1u << (kind - kinds);
		if (!kind->take(param, out))
			return refuse_value(kind->name, status);
	}
	return true;
}

/* ------------------------------------------------------------------- MAIL */

/* RFC 1870, 4: size-value = 1*20DIGIT */
static bool
take_size(struct param param, void *out)
{
	struct smtp_mail *mail = out;

	mail->has_size = true;
	if (param.value.len == 0 || param.value.len > 20)
		return false;
	for (size_t i = 0; i < param.value.len; i++)
		if (param.value.at[i] < '0' || param.value.at[i] > '9')
			return false;
	/* 20 digits hold more than 64 bits do: bigger than any limit */
	if (!str_u64(param.value, UINT64_MAX, &mail->size))
		mail->size = UINT64_MAX;
	return true;
}

static bool
take_body(struct param param, void *out)
{
	struct smtp_mail *mail = out;

	if (str_is_nocase(param.value, "7BIT"))
		mail->body = SMTP_BODY_7BIT;
	else if (str_is_nocase(param.value, "8BITMIME"))
		mail->body = SMTP_BODY_8BIT;
	else if (str_is_nocase(param.value, "BINARYMIME"))
		mail->body = SMTP_BODY_BINARY;
	else
		return false;
	return true;
}

static bool
take_smtputf8(struct param param, void *out)
{
	struct smtp_mail *mail = out;

	mail->is_utf8 = true;
	return !param.has_value;
}

static bool
take_ret(struct param param, void *out)
{
	struct smtp_mail *mail = out;

	if (str_is_nocase(param.value, "FULL"))
		mail->ret = 'F';
	else if (str_is_nocase(param.value, "HDRS"))
		mail->ret = 'H';
	else
		return false;
	return true;
}

static bool
take_envid(struct param param, void *out)
{
	struct smtp_mail *mail = out;

	return param.value.len != 0 && is_harmless_xtext(param.value) &&
	       str_copy(mail->envid, sizeof(mail->envid), param.value);
}

/* RFC 4954, 5: AUTH=<> or xtext of a mailbox */
static bool
take_auth(struct param param, void *out)
{
	struct smtp_mail *mail = out;
	char plain[ADDR_MAX + 1];

	mail->has_auth = true;
	if (str_is(param.value, "<>"))
		return true;
	return smtp_xtext_decode(param.value, plain, sizeof(plain)) &&
	       addr_parse(str_of(plain), ADDR_ALLOW_UTF8 | ADDR_ALLOW_NO_DOMAIN,
			  &mail->auth) == NULL;
}

static const struct param_kind mail_params[] = {
	{"SIZE", SMTP_EXT_SIZE, take_size},
	{"BODY", SMTP_EXT_8BITMIME, take_body},
	{"SMTPUTF8", SMTP_EXT_SMTPUTF8, take_smtputf8},
	{"RET", SMTP_EXT_DSN, take_ret},
	{"ENVID", SMTP_EXT_DSN, take_envid},
	{"AUTH", SMTP_EXT_AUTH, take_auth},
	{NULL, 0, NULL},
};

bool
smtp_args_mail(struct str arg, unsigned ext, unsigned flags,
	       struct smtp_mail *out, struct status *status)
{
	struct path path = {
		.keyword = "FROM:",
		.syntax = "MAIL FROM:<address>",
		.bad_address = "5.1.7",
	};
	struct smtp_mail mail = {.body = SMTP_BODY_NONE};

	if (!split_path(arg, flags, &path, status) ||
	    !take_params(path.params, ext, mail_params, &mail, status))
		return false;
	if (mail.body == SMTP_BODY_BINARY && (ext & SMTP_EXT_BINARYMIME) == 0)
		return refuse_value("BODY", status);
	if (path.address.len != 0 &&
	    !parse_path(&path, mail.is_utf8, address_flags(flags), &mail.sender,
			status))
		return false;
	*out = mail;
	return true;
}

/* ------------------------------------------------------------------- RCPT */

/* RFC 3461, 4.1: NEVER alone, or a list of the others */
static bool
take_notify(struct param param, void *out)
{
	static const struct {
		const char *name;
		uint8_t bit;
	} kinds[] = {
		{"NEVER", SMTP_NOTIFY_NEVER},
		{"SUCCESS", SMTP_NOTIFY_SUCCESS},
		{"FAILURE", SMTP_NOTIFY_FAILURE},
		{"DELAY", SMTP_NOTIFY_DELAY},
	};
	struct smtp_rcpt *rcpt = out;
	struct str rest = param.value, word;

	if (rest.len == 0 || rest.at[rest.len - 1] == ',')
		return false;
	while (str_cut(&rest, ',', &word)) {
		uint8_t bit = 0;

		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (str_is_nocase(word, kinds[i].name))
				bit = kinds[i].bit;
		if (bit == 0 || (rcpt->notify & bit) != 0)
			return false;
		rcpt->notify |= bit;
	}
	return (rcpt->notify & SMTP_NOTIFY_NEVER) == 0 ||
	       rcpt->notify == SMTP_NOTIFY_NEVER;
}

/* RFC 6533, 3: utf-8-addr-xtext, or -unitext (not ASCII) which only a
 * transaction with SMTPUTF8 may use: the caller looks at that. */
static bool
is_utf8_address(struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if (c <= ' ' || c == 0x7f || c == '+' || c == '=')
			return false;
	}
	return str_is_utf8(text);
}

/* addr-type ";" xtext                               RFC 3461, 4.2 */
static bool
take_orcpt(struct param param, void *out)
{
	struct smtp_rcpt *rcpt = out;
	struct str rest = param.value, type;

	if (!str_cut(&rest, ';', &type) || type.len == 0 || rest.len == 0)
		return false;
	for (size_t i = 0; i < type.len; i++)
		if (!is_xchar((unsigned char)type.at[i]))
			return false;
	if (str_is_nocase(type, "utf-8") ? !is_utf8_address(rest)
					 : !is_harmless_xtext(rest))
		return false;
	return str_copy(rcpt->orcpt, sizeof(rcpt->orcpt), param.value);
}

static const struct param_kind rcpt_params[] = {
	{"NOTIFY", SMTP_EXT_DSN, take_notify},
	{"ORCPT", SMTP_EXT_DSN, take_orcpt},
	{NULL, 0, NULL},
};

bool
smtp_args_rcpt(struct str arg, unsigned ext, unsigned flags,
	       struct smtp_rcpt *out, struct status *status)
{
	struct path path = {
		.keyword = "TO:",
		.syntax = "RCPT TO:<address>",
		.bad_address = "5.1.3",
	};
	struct smtp_rcpt rcpt = {.notify = 0};
	bool is_utf8 = (flags & SMTP_ARGS_UTF8) != 0;

	if (!split_path(arg, flags, &path, status) ||
	    !take_params(path.params, ext, rcpt_params, &rcpt, status))
		return false;
	if (!is_utf8 && !str_is_ascii(str_of(rcpt.orcpt)))
		return refuse_value("ORCPT", status);
	if (str_is_nocase(path.address, "postmaster"))
		flags |= SMTP_ARGS_NO_DOMAIN;
	if (!parse_path(&path, is_utf8, address_flags(flags), &rcpt.address,
			status))
		return false;
	*out = rcpt;
	return true;
}

/* ----------------------------------------------------------------- others */

bool
smtp_args_bdat(struct str arg, struct smtp_bdat *out, struct status *status)
{
	struct str rest = arg, size;
	struct smtp_bdat bdat = {.is_last = false};

	if (!str_cut(&rest, ' ', &size) || size.len > 20 ||
	    !str_u64(size, UINT64_MAX, &bdat.size))
		return REFUSE(status, 501, "5.5.4", "Syntax: BDAT size [LAST]");
	rest = str_trim(rest);
	bdat.is_last = str_is_nocase(rest, "LAST");
	if (rest.len != 0 && !bdat.is_last)
		return REFUSE(status, 501, "5.5.4", "Syntax: BDAT size [LAST]");
	*out = bdat;
	return true;
}

/* RFC 4422, 3.1: 1*20(A-Z / 0-9 / "-" / "_") */
static bool
copy_mechanism(struct str name, char to[SMTP_MECHANISM_MAX + 1])
{
	if (name.len == 0 || name.len > SMTP_MECHANISM_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.at[i];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - ('a' - 'A'));
		if ((c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' &&
		    c != '_')
			return false;
		to[i] = c;
	}
	to[name.len] = '\0';
	return true;
}

bool
smtp_args_auth(struct str arg, struct smtp_auth *out, struct status *status)
{
	struct str rest = arg, name;
	struct smtp_auth auth = {.has_initial = false};

	if (!str_cut(&rest, ' ', &name) ||
	    !copy_mechanism(name, auth.mechanism))
		return REFUSE(status, 501, "5.5.4",
			      "Syntax: AUTH mechanism [initial response]");
	auth.initial = str_trim(rest);
	auth.has_initial = auth.initial.len != 0;
	for (size_t i = 0; i < auth.initial.len; i++)
		if (!is_printable((unsigned char)auth.initial.at[i]))
			return REFUSE(status, 501, "5.5.4",
				      "Syntax: AUTH mechanism [initial "
				      "response]");
	*out = auth;
	return true;
}

bool
smtp_args_vrfy(struct str arg, unsigned ext, struct addr *out,
	       struct status *status)
{
	static const char keyword[] = " SMTPUTF8";
	struct path path = {.bad_address = "5.1.3", .address = arg};
	bool is_utf8 = (ext & SMTP_EXT_SMTPUTF8) != 0 &&
		       str_ends_nocase(arg, str_of(keyword));

	if (is_utf8) /* RFC 6531, 3.7.4.2 */
		path.address.len -= sizeof(keyword) - 1;
	path.address = str_trim(path.address);
	if (path.address.len == 0)
		return REFUSE(status, 501, "5.5.4", "An address is needed");
	if (path.address.at[0] == '<' &&
	    path.address.at[path.address.len - 1] == '>') {
		path.address.at++;
		path.address.len -= 2;
	}
	return parse_path(&path, is_utf8, ADDR_ALLOW_NO_DOMAIN, out, status);
}

bool
smtp_args_none(struct str arg, struct status *status)
{
	if (arg.len == 0)
		return true;
	return REFUSE(status, 501, "5.5.4", "No argument is allowed here");
}
