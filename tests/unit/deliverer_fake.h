/* SPDX-License-Identifier: ISC */
/*
 * tests/unit/deliverer_fake.h - what a deliverer that opens no connection does
 * not do
 *
 * For tests of the queue, which bring a deliverer and deliveries of their own.
 */
#ifndef OSTLER_TESTS_UNIT_DELIVERER_FAKE_H
#define OSTLER_TESTS_UNIT_DELIVERER_FAKE_H

#include "queue/deliver/delivery.h"

void
deliverer_configure(struct deliverer *deliverer,
		    const struct deliverer_opts *opts)
{
}

void
deliverer_forget_marks(struct deliverer *deliverer)
{
	(void)deliverer;
}

void
deliverer_slow_hosts(const struct deliverer *deliverer,
		     void (*each)(void *arg, const struct pace_host *host),
		     void *arg)
{
	(void)deliverer;
	(void)each;
	(void)arg;
}

void
deliverer_close_idle(struct deliverer *deliverer)
{
}

#endif
