/* SPDX-License-Identifier: ISC */
/*
 * server/libraries.h - what libraries are told before their first use
 *
 * Those that let us choose get memory that is there or the program is not
 * (lib/mem.h): their own answers to a failure range from a reply that blames
 * the peer to a crash without a word. c-ares is told by its backend.
 */
#ifndef OSTLER_SERVER_LIBRARIES_H
#define OSTLER_SERVER_LIBRARIES_H

/* First thing in main. */
void libraries_prepare(void);

#endif
