/* SPDX-License-Identifier: ISC */
/*
 * lib/random.h - numbers that nobody can guess
 *
 * From the kernel, fetched in small blocks so that a DNS question does not
 * cost a system call. Any thread.
 */
#ifndef OSTLER_LIB_RANDOM_H
#define OSTLER_LIB_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills to with len bytes. */
void random_bytes(void *to, size_t len);

/* Evenly one of 0 .. below - 1; below > 0. */
uint32_t random_below(uint32_t below);

#endif
