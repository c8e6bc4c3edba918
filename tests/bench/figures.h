/* SPDX-License-Identifier: ISC */
/*
 * tests/bench/figures.h - what the measuring programs of the spool count
 *
 * A list of latencies with its percentiles, and the process's CPU time.
 */
#ifndef OSTLER_TESTS_BENCH_FIGURES_H
#define OSTLER_TESTS_BENCH_FIGURES_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>

#define LATENCIES_MAX (1u << 24) /* of one run; more are counted only */

struct latencies {
	uint32_t *us; /* owns */
	size_t count;
};

static inline void
latencies_add(struct latencies *to, uint64_t began_ns, uint64_t now_ns)
{
	if (to->count < LATENCIES_MAX)
		to->us[to->count++] = (uint32_t)((now_ns - began_ns) / 1000);
}

static inline int
latencies_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static inline void
latencies_sort(struct latencies *of)
{
	qsort(of->us, of->count, sizeof(*of->us), latencies_compare);
}

/* Of sorted ones, which are not none; part is 0 to 1. */
static inline uint32_t
latencies_at(const struct latencies *of, double part)
{
	size_t at = (size_t)((double)of->count * part);

	return of->us[at < of->count ? at : of->count - 1];
}

/* CPU time of all threads so far, in microseconds. */
static inline double
cpu_us(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage); /* cannot fail */
	return 1e6 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

#endif
