/* SPDX-License-Identifier: ISC */
#include "queue/faults.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/str.h"

static const struct {
	const char *name, *advice;
} kinds[FAULT_KINDS] = {
	[FAULT_NONE] = {"none", ""},
	[FAULT_LOGIN] = {"login",
			 "Correct user, password_file or token_command of the "
			 "route to this next hop, then: ostlerctl reload and "
			 "ostlerctl queue flush."},
	[FAULT_DNS] = {"dns",
		       "No name server answers: look at resolver.servers or "
		       "/etc/resolv.conf, and whether they run."},
	[FAULT_NAME] = {"name",
			"Others refuse our mail until our address has a PTR "
			"record with our hostname, whose address record leads "
			"back to it."},
	[FAULT_CONFIGURATION] = {"configuration",
				 "Correct what the reason names, then: "
				 "ostlerctl reload and ostlerctl queue flush."},
	[FAULT_ROUTE] = {"route",
			 "Add a domain section for this domain, or correct its "
			 "MX records, its route, or the tables of the inner "
			 "server."},
	[FAULT_CERTIFICATE] = {"certificate",
			       "Renew the certificate; the new files are seen "
			       "by themselves."},
	[FAULT_DISK] = {"disk",
			"Make room on the spool's disk; until then new mail "
			"is answered 452."},
	[FAULT_DIGEST] = {"digest",
			  "Set postmaster to an address that takes mail."},
	[FAULT_STS] =
		{"sts",
		 "See that ostler-fetch is installed and can run (it "
		 "needs libcurl); until then domains whose MTA-STS policy "
		 "is not known yet get mail as if they had none."},
};

const char *
fault_kind_name(enum fault_kind kind)
{
	return kinds[kind].name;
}

const char *
fault_advice(enum fault_kind kind)
{
	return kinds[kind].advice;
}

void
faults_done(struct faults *faults)
{
	free(faults->list);
	memset(faults, 0, sizeof(*faults));
}

/* Of what is too long, what fits was kept. */
static bool
is_same(const char kept[FAULT_WHERE_MAX + 1], const char *where)
{
	char cut[FAULT_WHERE_MAX + 1];

	(void)str_copy(cut, sizeof(cut), str_of(where));
	return strcmp(kept, cut) == 0;
}

static struct fault *
find(struct faults *faults, enum fault_kind kind, const char *where)
{
	for (size_t i = 0; i < faults->count; i++)
		if (faults->list[i].kind == kind &&
		    is_same(faults->list[i].where, where))
			return &faults->list[i];
	return NULL;
}

static void
drop(struct faults *faults, size_t index)
{
	memmove(&faults->list[index], &faults->list[index + 1],
		(faults->count - index - 1) * sizeof(*faults->list));
	faults->count--;
}

static struct fault *
add(struct faults *faults)
{
	size_t oldest = 0;

	if (faults->list == NULL)
		faults->list = mem_zalloc(FAULTS_MAX * sizeof(*faults->list));
	if (faults->count == FAULTS_MAX) {
		for (size_t i = 1; i < faults->count; i++)
			if (faults->list[i].last_ms <
			    faults->list[oldest].last_ms)
				oldest = i;
		drop(faults, oldest);
	}
	memset(&faults->list[faults->count], 0, sizeof(*faults->list));
	return &faults->list[faults->count++];
}

static void
tell(struct faults *faults, struct fault *fault, uint64_t now_ms)
{
	fault->told_ms = now_ms;
	if (faults->on_fault != NULL)
		faults->on_fault(faults->arg, fault);
}

void
faults_met(struct faults *faults, enum fault_kind kind, const char *where,
	   const char *words, uint64_t now_ms)
{
	struct fault *fault = find(faults, kind, where);

	if (fault == NULL) {
		fault = add(faults);
		fault->kind = kind;
		(void)str_copy(fault->where, sizeof(fault->where),
			       str_of(where));
		fault->first_ms = now_ms;
	}
	(void)str_copy(fault->words, sizeof(fault->words), str_of(words));
	fault->last_ms = now_ms;
	fault->count++;
	if (fault->count == 1 || now_ms >= fault->told_ms + FAULT_REMIND_MS)
		tell(faults, fault, now_ms);
}

void
faults_over(struct faults *faults, enum fault_kind kind, const char *where,
	    uint64_t now_ms)
{
	size_t i = 0;

	while (i < faults->count) {
		struct fault fault = faults->list[i];

		if (fault.kind != kind ||
		    (where != NULL && !is_same(fault.where, where))) {
			i++;
			continue;
		}
		drop(faults, i);
		fault.is_over = true;
		tell(faults, &fault, now_ms);
	}
}

static bool
is_about_our_name(const struct classification *classification)
{
	const char *advice = classification->advice;

	return advice != NULL && (strcmp(advice, "no-reverse-dns") == 0 ||
				  strcmp(advice, "helo-name") == 0);
}

enum fault_kind
fault_of(const struct outcome *outcome,
	 const struct classification *classification)
{
	if (outcome->kind == OUTCOME_DELIVERED)
		return FAULT_NONE;
	switch (outcome->cause) {
	case CAUSE_AUTH_NOT_OFFERED:
	case CAUSE_AUTH_FAILED:
		return FAULT_LOGIN;
	case CAUSE_CONFIGURATION:
		return FAULT_CONFIGURATION;
	case CAUSE_SELF_IN_MX:
		return FAULT_ROUTE;
	case CAUSE_REPLY:
		break;
	case CAUSE_DNS_NO_DOMAIN:
	case CAUSE_DNS_NO_ADDRESS:
	case CAUSE_DNS_NULL_MX:
	case CAUSE_DNS_BAD_MX:
	case CAUSE_DNS_FAILED:
	case CAUSE_DNS_BOGUS:
	case CAUSE_PRIVATE_TARGET:
	case CAUSE_LOOP:
	case CAUSE_CONNECT_REFUSED:
	case CAUSE_CONNECT_UNREACHABLE:
	case CAUSE_CONNECT_TIMEOUT:
	case CAUSE_CONNECTION_LOST:
	case CAUSE_REPLY_TIMEOUT:
	case CAUSE_REPLY_GARBLED:
	case CAUSE_TLS_REQUIRED:
	case CAUSE_TLS_FAILED:
	case CAUSE_TLS_POLICY:
	case CAUSE_DANE_LOOKUP:
	case CAUSE_DANE_FAILED:
	case CAUSE_STS_FAILED:
	case CAUSE_HOST_BUSY:
	case CAUSE_NO_8BITMIME:
	case CAUSE_NO_SMTPUTF8:
	case CAUSE_TOO_BIG:
	case CAUSE_LOCAL_QUOTA:
	case CAUSE_LOCAL_FILE:
	case CAUSE_LOCAL_ADDRESS:
	case CAUSE_SPOOL:
	case CAUSE_EXPIRED:
	case CAUSE_OPERATOR:
		return FAULT_NONE;
	}
	/* RFC 3463, 3.2: x.1.n is about an address */
	if (outcome->status.class != 0 && outcome->status.subject == 1)
		return FAULT_NONE;
	return is_about_our_name(classification) ? FAULT_NAME : FAULT_NONE;
}

/* ------------------------------------------------------------------ DNS */

void
faults_dns_failed(struct faults *faults, const char *domain, const char *words,
		  uint64_t now_ms)
{
	bool is_known = false;

	for (size_t i = 0; i < faults->dns_count; i++)
		is_known |= is_same(faults->dns[i], domain);
	if (!is_known && faults->dns_count < FAULT_DNS_DOMAINS)
		(void)str_copy(faults->dns[faults->dns_count++],
			       sizeof(faults->dns[0]), str_of(domain));
	/* one domain's servers may be down; not all of them */
	if (faults->dns_count == FAULT_DNS_DOMAINS)
		faults_met(faults, FAULT_DNS, "", words, now_ms);
}

void
faults_dns_answered(struct faults *faults, uint64_t now_ms)
{
	if (faults->dns_count == FAULT_DNS_DOMAINS)
		faults_over(faults, FAULT_DNS, "", now_ms);
	faults->dns_count = 0;
}
