/* SPDX-License-Identifier: ISC */
#include "queue/bounce/advice.h"

#include <stddef.h>
#include <string.h>

#include "queue/bounce/texts.h"

/*
 * Who can change it; what is to be said stands in etc/reports. "the receiving
 * server" is whoever refused; nobody is blamed who cannot change it.
 */
static const enum text by_category[CATEGORY_COUNT] = {
	[CATEGORY_OTHER] = TEXT_WHO_THEIR_ADMIN,
	[CATEGORY_BAD_CONFIGURATION] = TEXT_WHO_THEIR_ADMIN,
	[CATEGORY_BAD_CONNECTION] = TEXT_WHO_BOTH_ADMINS,
	[CATEGORY_BAD_DOMAIN] = TEXT_WHO_YOU_OR_OWNER,
	[CATEGORY_BAD_MAILBOX] = TEXT_WHO_YOU,
	[CATEGORY_CONTENT_RELATED] = TEXT_WHO_YOU,
	[CATEGORY_INACTIVE_MAILBOX] = TEXT_WHO_RECIPIENT,
	[CATEGORY_MESSAGE_EXPIRED] = TEXT_WHO_ADMINS,
	[CATEGORY_NO_ANSWER_FROM_HOST] = TEXT_WHO_THEIR_ADMIN,
	[CATEGORY_POLICY_RELATED] = TEXT_WHO_YOUR_ADMIN,
	[CATEGORY_PROTOCOL_ERRORS] = TEXT_WHO_BOTH_ADMINS,
	[CATEGORY_QUOTA_ISSUES] = TEXT_WHO_RECIPIENT,
	[CATEGORY_RELAYING_ISSUES] = TEXT_WHO_ADMINS,
	[CATEGORY_ROUTING_ERRORS] = TEXT_WHO_THEIR_ADMIN,
	[CATEGORY_SPAM_RELATED] = TEXT_WHO_YOUR_ADMIN,
	[CATEGORY_VIRUS_RELATED] = TEXT_WHO_YOU,
};

/* Where a rule, or the queue, knows more. */
static const struct {
	const char *id;
	enum text who;
} by_id[] = {
	{"attachment", TEXT_WHO_YOU},
	{"blocklisted", TEXT_WHO_YOUR_ADMIN},
	{"dane", TEXT_WHO_THEIR_ADMIN},
	{"denied-our-data", TEXT_WHO_THEIR_ADMIN},
	{"denied-old-record", TEXT_WHO_THEIR_ADMIN},
	{"denied-backup-mx", TEXT_WHO_THEIR_ADMIN},
	{"denied-best-mx", TEXT_WHO_THEIR_ADMIN},
	{"denied-no-login", TEXT_WHO_YOUR_ADMIN},
	{"denied-login", TEXT_WHO_YOUR_ADMIN},
	{"denied-inner", TEXT_WHO_YOUR_ADMIN},
	{"disk-full", TEXT_WHO_THEIR_ADMIN},
	{"dkim", TEXT_WHO_YOUR_ADMIN},
	{"dmarc", TEXT_WHO_YOUR_ADMIN},
	{"dns-failed", TEXT_WHO_ADMINS},
	{"dynamic-address", TEXT_WHO_YOUR_ADMIN},
	{"greylisted", TEXT_WHO_NOBODY},
	{"helo-name", TEXT_WHO_YOUR_ADMIN},
	{"leads-here", TEXT_WHO_ADMINS},
	{"login-missing", TEXT_WHO_YOUR_ADMIN},
	{"mail-loop", TEXT_WHO_THEIR_ADMIN},
	{"mailbox-full", TEXT_WHO_RECIPIENT},
	{"mailbox-rate", TEXT_WHO_NOBODY},
	{"malformed", TEXT_WHO_YOU_OR_MAKER},
	{"message-too-big", TEXT_WHO_YOU},
	{"moved", TEXT_WHO_YOU},
	{"no-reverse-dns", TEXT_WHO_YOUR_ADMIN},
	{"no-smtputf8", TEXT_WHO_YOU},
	{"null-mx", TEXT_WHO_YOU},
	{"operator", TEXT_WHO_YOUR_ADMIN},
	{"our-configuration", TEXT_WHO_YOUR_ADMIN},
	{"our-login", TEXT_WHO_YOUR_ADMIN},
	{"rate-limited", TEXT_WHO_YOUR_ADMIN},
	{"reputation", TEXT_WHO_YOUR_ADMIN},
	{"restricted-recipient", TEXT_WHO_RECIPIENT},
	{"sender-domain", TEXT_WHO_YOU_OR_ADMIN},
	{"sender-refused", TEXT_WHO_YOU_OR_ADMIN},
	{"spf", TEXT_WHO_YOUR_ADMIN},
	{"sts", TEXT_WHO_THEIR_ADMIN},
	{"tls-failed", TEXT_WHO_BOTH_ADMINS},
	{"tls-policy", TEXT_WHO_YOUR_ADMIN},
	{"tls-required", TEXT_WHO_BOTH_ADMINS},
	{"too-many-recipients", TEXT_WHO_YOU},
};

#define ID_COUNT (sizeof(by_id) / sizeof(by_id[0]))

const char *
advice_id(struct str name)
{
	for (size_t i = 0; i < ID_COUNT; i++)
		if (str_is(name, by_id[i].id))
			return by_id[i].id;
	return NULL;
}

size_t
advice_count(void)
{
	return CATEGORY_COUNT + ID_COUNT;
}

const char *
advice_name(size_t index)
{
	return index < CATEGORY_COUNT ? category_name((enum category)index)
				      : by_id[index - CATEGORY_COUNT].id;
}

/* Its index among all; who can change it. */
static size_t
find(const struct classification *classification, enum text *who)
{
	for (size_t i = 0; classification->advice != NULL && i < ID_COUNT;
	     i++) {
		if (strcmp(by_id[i].id, classification->advice) != 0)
			continue;
		*who = by_id[i].who;
		return CATEGORY_COUNT + i;
	}
	*who = by_category[classification->category];
	return classification->category;
}

void
advice_find(const struct classification *classification,
	    const struct language *language, struct advice *out)
{
	struct texts *texts = texts_builtin(); /* never goes away */
	enum text who;
	size_t index = find(classification, &who);

	if (language == NULL)
		language = texts_language(texts, str_of("en"));
	texts_unref(texts);
	out->cause = language_advice(language, index, ADVICE_CAUSE);
	out->explanation = language_advice(language, index, ADVICE_WHY);
	out->author = language_advice(language, index, ADVICE_AUTHOR);
	out->admin = language_advice(language, index, ADVICE_ADMIN);
	out->who = language_text(language, who);
}
