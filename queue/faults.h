/* SPDX-License-Identifier: ISC */
/*
 * queue/faults.h - what only our own administrator can repair
 *
 * Each fault stands here once, from its first failure until something shows
 * that it is over, however much mail it stops. Who listens hears of it when it
 * begins and when it ends, and at most once an hour in between. A bounded
 * table; time is a parameter; loop thread only.
 */
#ifndef OSTLER_QUEUE_FAULTS_H
#define OSTLER_QUEUE_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/bounce/classify.h"
#include "queue/deliver/outcome.h"

enum fault_kind {
	FAULT_NONE,
	FAULT_LOGIN,	     /* a next hop refuses our login, or wants one */
	FAULT_DNS,	     /* our resolver answers nothing */
	FAULT_NAME,	     /* others miss a proper name of our address */
	FAULT_CONFIGURATION, /* a password file, a source address, ... */
	FAULT_ROUTE,	     /* MX records lead back here; an inner server does
				not know a domain that we send it */
	FAULT_CERTIFICATE,   /* ours ends, or has ended */
	FAULT_DISK,	     /* the spool is short of it, or cannot write */
	FAULT_DIGEST,	     /* the postmaster cannot be reached */
	FAULT_STS,	     /* no MTA-STS policy can be read, of any domain */
	FAULT_KINDS
};
const char *fault_kind_name(enum fault_kind kind); /* "login" */
/* What the administrator can do about it: one sentence, static. */
const char *fault_advice(enum fault_kind kind);

#define FAULTS_MAX	100
#define FAULT_WHERE_MAX 511 /* next hops have less; of a path what fits */
#define FAULT_WORDS_MAX 400
#define FAULT_REMIND_MS 3600000
/* Domains without an answer, and none with, that make it our resolver. */
#define FAULT_DNS_DOMAINS 3

struct fault {
	enum fault_kind kind;
	char where[FAULT_WHERE_MAX + 1]; /* next hop, domain, file; or "" */
	char words[FAULT_WORDS_MAX + 1]; /* what was said last */
	uint64_t first_ms, last_ms;	 /* wall clock */
	uint64_t count;
	uint64_t told_ms; /* when it was last told */
	bool is_over;	  /* while it is told: it has just ended */
};

struct faults {
	struct fault *list; /* owns; those that last, oldest first */
	size_t count;
	/* domains that failed in DNS, one after the other */
	char dns[FAULT_DNS_DOMAINS][FAULT_WHERE_MAX + 1];
	size_t dns_count;
	char name_by[FAULT_WHERE_MAX + 1]; /* next hop that met FAULT_NAME */
	void (*on_fault)(void *arg, const struct fault *fault); /* or NULL */
	void *arg;
};

/* Zero it to begin. */
void faults_done(struct faults *faults);

/* It was met again, or for the first time. Full: one that was not met for the
 * longest makes room. */
void faults_met(struct faults *faults, enum fault_kind kind, const char *where,
		const char *words, uint64_t now_ms);
/* It is over; nothing happens when there was none. where NULL: any. */
void faults_over(struct faults *faults, enum fault_kind kind, const char *where,
		 uint64_t now_ms);

/*
 * Which fault of ours an outcome tells of; FAULT_NONE for most.
 *
 * What is said about one recipient (5.1.x) is none.
 */
enum fault_kind fault_of(const struct outcome *outcome,
			 const struct classification *classification);

/* A question of delivery to DNS failed, or was answered. */
void faults_dns_failed(struct faults *faults, const char *domain,
		       const char *words, uint64_t now_ms);
void faults_dns_answered(struct faults *faults, uint64_t now_ms);

#endif
