/* SPDX-License-Identifier: ISC */
#include "tests/fuzz/fuzz.h"

#include "lib/wire/smtp_args.h"
#include "tests/unit/smtp_args_text.h"

#define ALL_EXT 63u

static void
check_status(const struct status *status)
{
	FUZZ_CHECK(status->code >= 500 && status->code < 600);
	FUZZ_CHECK(status->class == 5);
	FUZZ_CHECK(status->text[0] != '\0');
	for (const char *c = status->text; *c != '\0'; c++)
		FUZZ_CHECK(*c >= ' ' && *c < 0x7f);
}

/* What is taken, formatted and taken again comes out the same. */
static void
check_mail(struct str arg, unsigned ext, unsigned flags)
{
	struct smtp_mail mail, again;
	struct status status = {0};
	struct buf first, second;

	if (!smtp_args_mail(arg, ext, flags, &mail, &status)) {
		check_status(&status);
		return;
	}
	buf_init(&first, 65536);
	buf_init(&second, 65536);
	FUZZ_CHECK(smtp_args_format_mail(&mail, ext, &first) == 0);
	FUZZ_CHECK(smtp_args_mail(str_of(buf_text(&first)), ext, flags, &again,
				  &status));
	FUZZ_CHECK(smtp_args_format_mail(&again, ext, &second) == 0);
	FUZZ_CHECK(strcmp(buf_text(&first), buf_text(&second)) == 0);
	FUZZ_CHECK(mail.size == again.size && mail.body == again.body &&
		   mail.is_utf8 == again.is_utf8 && mail.ret == again.ret &&
		   mail.has_auth == again.has_auth);
	FUZZ_CHECK(strcmp(mail.sender.text, again.sender.text) == 0);
	FUZZ_CHECK(strcmp(mail.auth.text, again.auth.text) == 0);
	FUZZ_CHECK(strcmp(mail.envid, again.envid) == 0);
	FUZZ_CHECK(mail.sender.local_len != 0 || mail.sender.text[0] == '\0');
	buf_done(&first);
	buf_done(&second);
}

static void
check_rcpt(struct str arg, unsigned ext, unsigned flags)
{
	struct smtp_rcpt rcpt, again;
	struct status status = {0};
	struct buf text;

	if (!smtp_args_rcpt(arg, ext, flags, &rcpt, &status)) {
		check_status(&status);
		return;
	}
	buf_init(&text, 65536);
	FUZZ_CHECK(rcpt.address.local_len != 0);
	FUZZ_CHECK(smtp_args_format_rcpt(&rcpt, ext, &text) == 0);
	FUZZ_CHECK(smtp_args_rcpt(str_of(buf_text(&text)), ext, flags, &again,
				  &status));
	FUZZ_CHECK(strcmp(rcpt.address.text, again.address.text) == 0);
	FUZZ_CHECK(rcpt.notify == again.notify);
	FUZZ_CHECK(strcmp(rcpt.orcpt, again.orcpt) == 0);
	buf_done(&text);
}

static void
check_helo(struct str arg)
{
	struct smtp_helo helo, again;
	struct status status = {0};

	if (!smtp_args_helo(arg, &helo, &status)) {
		check_status(&status);
		return;
	}
	FUZZ_CHECK(helo.name[0] != '\0');
	for (const char *c = helo.name; *c != '\0'; c++)
		FUZZ_CHECK(*c > ' ' && *c < 0x7f &&
			   strchr("()<>,;\"\\", *c) == NULL);
	FUZZ_CHECK(smtp_args_helo(str_of(helo.name), &again, &status));
	FUZZ_CHECK(helo.kind == again.kind || helo.kind == SMTP_HELO_ODD);
}

static void
check_xtext(struct str arg)
{
	char plain[512], text[1600], again[512];

	if (smtp_xtext_decode(arg, plain, sizeof(plain))) {
		FUZZ_CHECK(smtp_args_xtext(str_of(plain), text, sizeof(text)));
		FUZZ_CHECK(
			smtp_xtext_decode(str_of(text), again, sizeof(again)));
		FUZZ_CHECK(strcmp(plain, again) == 0);
	}
}

static void
check_others(struct str arg, unsigned ext)
{
	struct smtp_bdat bdat;
	struct smtp_auth auth;
	struct addr addr;
	struct status status = {0};

	if (!smtp_args_bdat(arg, &bdat, &status))
		check_status(&status);
	if (!smtp_args_auth(arg, &auth, &status))
		check_status(&status);
	else
		FUZZ_CHECK(auth.has_initial == (auth.initial.len != 0));
	if (!smtp_args_vrfy(arg, ext, &addr, &status))
		check_status(&status);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned ext, flags;
	struct str arg;

	if (size < 2)
		return 0;
	ext = data[0] & ALL_EXT;
	flags = data[1] &
		(SMTP_ARGS_NO_DOMAIN | SMTP_ARGS_UTF8 | SMTP_ARGS_LENIENT);
	arg = str_from((const char *)data + 2, size - 2);
	check_mail(arg, ext, flags);
	check_rcpt(arg, ext, flags);
	check_helo(arg);
	check_xtext(arg);
	check_others(arg, ext);
	return 0;
}
