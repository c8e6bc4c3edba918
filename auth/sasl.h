/* SPDX-License-Identifier: ISC */
/*
 * auth/sasl.h - what both directions of libsasl2 share in this room
 */
#ifndef OSTLER_AUTH_SASL_H
#define OSTLER_AUTH_SASL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/str.h"

/* Decoded and encoded SASL data: RFC 4954 allows 12288 octets of base64. */
#define AUTH_DATA_MAX 12288

/* Gives libsasl2 our memory and mutexes; before its first use, from one
 * thread. */
void auth_sasl_prepare(void);

/*
 * base64 to bytes with a NUL behind them; the caller frees (mem_free_secret
 * when text is a secret). NULL when it is no base64.
 */
char *auth_decode64(struct str base64, unsigned *out_len);

/* Bytes to base64, NUL-terminated; the caller frees. */
char *auth_encode64(const char *bytes, unsigned len);

/* The one signature that libsasl2 keeps for callbacks of every kind. */
typedef int sasl_callback_fn(void);

/* SASL_CB_GETCONFPATH: options come from our configuration alone, never from
 * a file of libsasl2's. */
int auth_sasl_no_path(void *context, char **path);

/* "2.1.28": of the library that runs. Static. */
const char *auth_version(void);

#endif
