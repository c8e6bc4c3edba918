/* SPDX-License-Identifier: ISC */
/* The names of the categories, and the tables that need no text. */
#include <string.h>

#include "queue/bounce/category.h"

static const char *const names[CATEGORY_COUNT] = {
	[CATEGORY_OTHER] = "other",
	[CATEGORY_BAD_CONFIGURATION] = "bad-configuration",
	[CATEGORY_BAD_CONNECTION] = "bad-connection",
	[CATEGORY_BAD_DOMAIN] = "bad-domain",
	[CATEGORY_BAD_MAILBOX] = "bad-mailbox",
	[CATEGORY_CONTENT_RELATED] = "content-related",
	[CATEGORY_INACTIVE_MAILBOX] = "inactive-mailbox",
	[CATEGORY_MESSAGE_EXPIRED] = "message-expired",
	[CATEGORY_NO_ANSWER_FROM_HOST] = "no-answer-from-host",
	[CATEGORY_POLICY_RELATED] = "policy-related",
	[CATEGORY_PROTOCOL_ERRORS] = "protocol-errors",
	[CATEGORY_QUOTA_ISSUES] = "quota-issues",
	[CATEGORY_RELAYING_ISSUES] = "relaying-issues",
	[CATEGORY_ROUTING_ERRORS] = "routing-errors",
	[CATEGORY_SPAM_RELATED] = "spam-related",
	[CATEGORY_VIRUS_RELATED] = "virus-related",
};

const char *
category_name(enum category category)
{
	return names[category];
}

bool
category_parse(const char *name, enum category *out)
{
	for (size_t i = 0; i < CATEGORY_COUNT; i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		*out = (enum category)i;
		return true;
	}
	return false;
}

/* The IANA registry of enhanced codes (RFC 3463 and its successors), by what
 * would have to change before the message can be delivered. */
static const struct {
	uint16_t subject, first, last;
	enum category category;
} by_enhanced[] = {
	{0, 0, 0, CATEGORY_OTHER},
	{1, 0, 1, CATEGORY_BAD_MAILBOX},
	{1, 2, 2, CATEGORY_BAD_DOMAIN},
	{1, 3, 4, CATEGORY_BAD_MAILBOX},
	{1, 5, 5, CATEGORY_OTHER},
	{1, 6, 6, CATEGORY_INACTIVE_MAILBOX},
	{1, 7, 8, CATEGORY_POLICY_RELATED},
	{1, 9, 9, CATEGORY_OTHER},
	{1, 10, 10, CATEGORY_BAD_DOMAIN},
	{2, 0, 0, CATEGORY_BAD_MAILBOX},
	{2, 1, 1, CATEGORY_INACTIVE_MAILBOX},
	{2, 2, 2, CATEGORY_QUOTA_ISSUES},
	{2, 3, 3, CATEGORY_CONTENT_RELATED},
	{2, 4, 4, CATEGORY_BAD_CONFIGURATION},
	{3, 0, 0, CATEGORY_OTHER},
	{3, 1, 1, CATEGORY_QUOTA_ISSUES},
	{3, 2, 2, CATEGORY_OTHER},
	{3, 3, 3, CATEGORY_PROTOCOL_ERRORS},
	{3, 4, 4, CATEGORY_CONTENT_RELATED},
	{3, 5, 5, CATEGORY_BAD_CONFIGURATION},
	{4, 0, 0, CATEGORY_OTHER},
	{4, 1, 1, CATEGORY_NO_ANSWER_FROM_HOST},
	{4, 2, 2, CATEGORY_BAD_CONNECTION},
	{4, 3, 4, CATEGORY_ROUTING_ERRORS},
	{4, 5, 5, CATEGORY_OTHER},
	{4, 6, 6, CATEGORY_ROUTING_ERRORS},
	{4, 7, 7, CATEGORY_MESSAGE_EXPIRED},
	{5, 0, 2, CATEGORY_PROTOCOL_ERRORS},
	{5, 3, 3, CATEGORY_POLICY_RELATED},
	{5, 4, 6, CATEGORY_PROTOCOL_ERRORS},
	{6, 0, 6, CATEGORY_CONTENT_RELATED},
	{6, 7, 8, CATEGORY_PROTOCOL_ERRORS},
	{6, 9, 9, CATEGORY_CONTENT_RELATED},
	{6, 10, 10, CATEGORY_PROTOCOL_ERRORS},
	{7, 8, 8, CATEGORY_RELAYING_ISSUES},
	{7, 13, 13, CATEGORY_INACTIVE_MAILBOX},
	{7, 17, 17, CATEGORY_INACTIVE_MAILBOX},
	{7, 18, 18, CATEGORY_BAD_DOMAIN},
	{7, 0, UINT16_MAX, CATEGORY_POLICY_RELATED},
};

bool
category_by_enhanced(unsigned subject, unsigned detail, enum category *out)
{
	for (size_t i = 0; i < sizeof(by_enhanced) / sizeof(by_enhanced[0]);
	     i++) {
		if (by_enhanced[i].subject != subject ||
		    detail < by_enhanced[i].first ||
		    detail > by_enhanced[i].last)
			continue;
		*out = by_enhanced[i].category;
		return true;
	}
	return false;
}

bool
category_by_code(unsigned code, enum category *out)
{
	switch (code) {
	case 500:
	case 501:
	case 502:
	case 503:
	case 504:
	case 555:
		*out = CATEGORY_PROTOCOL_ERRORS;
		return true;
	case 530:
	case 535:
	case 551:
		*out = CATEGORY_RELAYING_ISSUES;
		return true;
	case 452:
	case 552:
		*out = CATEGORY_QUOTA_ISSUES;
		return true;
	case 521:
	case 556:
		*out = CATEGORY_BAD_DOMAIN;
		return true;
	case 550:
	case 553:
		*out = CATEGORY_BAD_MAILBOX;
		return true;
	default:
		return false;
	}
}

enum category
category_by_cause(enum cause cause)
{
	switch (cause) {
	case CAUSE_DNS_NO_DOMAIN:
	case CAUSE_DNS_NO_ADDRESS:
	case CAUSE_DNS_NULL_MX:
		return CATEGORY_BAD_DOMAIN;
	case CAUSE_DNS_BAD_MX:
	case CAUSE_DNS_FAILED:
	case CAUSE_DNS_BOGUS:
	case CAUSE_SELF_IN_MX:
	case CAUSE_PRIVATE_TARGET:
	case CAUSE_LOOP:
		return CATEGORY_ROUTING_ERRORS;
	case CAUSE_CONNECT_REFUSED:
	case CAUSE_CONNECT_UNREACHABLE:
	case CAUSE_CONNECTION_LOST:
		return CATEGORY_BAD_CONNECTION;
	case CAUSE_CONNECT_TIMEOUT:
	case CAUSE_REPLY_TIMEOUT:
		return CATEGORY_NO_ANSWER_FROM_HOST;
	case CAUSE_REPLY_GARBLED:
	case CAUSE_NO_8BITMIME:
	case CAUSE_NO_SMTPUTF8:
		return CATEGORY_PROTOCOL_ERRORS;
	case CAUSE_HOST_BUSY:
	case CAUSE_TLS_REQUIRED:
	case CAUSE_TLS_POLICY:
	case CAUSE_OPERATOR:
		return CATEGORY_POLICY_RELATED;
	case CAUSE_AUTH_NOT_OFFERED:
	case CAUSE_AUTH_FAILED:
		return CATEGORY_RELAYING_ISSUES;
	case CAUSE_TOO_BIG:
		return CATEGORY_CONTENT_RELATED;
	case CAUSE_LOCAL_QUOTA:
		return CATEGORY_QUOTA_ISSUES;
	case CAUSE_LOCAL_ADDRESS:
		return CATEGORY_BAD_MAILBOX;
	case CAUSE_EXPIRED:
		return CATEGORY_MESSAGE_EXPIRED;
	case CAUSE_TLS_FAILED:
	case CAUSE_DANE_LOOKUP:
	case CAUSE_DANE_FAILED:
	case CAUSE_STS_FAILED:
	case CAUSE_LOCAL_FILE:
	case CAUSE_SPOOL:
	case CAUSE_CONFIGURATION:
		return CATEGORY_BAD_CONFIGURATION;
	case CAUSE_REPLY:
		return CATEGORY_OTHER; /* the reply decides, not the cause */
	}
	return CATEGORY_OTHER;
}
