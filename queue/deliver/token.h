/* SPDX-License-Identifier: ISC */
/*
 * queue/deliver/token.h - bearer tokens, printed by the operator's command
 *
 * The command runs beside the loop, without a shell: its words are parted by
 * blanks, quotes keep them together. It has 30 seconds and prints the token
 * as its first line, or a JSON object with access_token and expires_in. All
 * who need the same token share one run, and the token until it ends; after
 * a failure none is run for a minute. Loop thread only.
 */
#ifndef OSTLER_QUEUE_DELIVER_TOKEN_H
#define OSTLER_QUEUE_DELIVER_TOKEN_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/str.h"

#define TOKEN_COMMANDS_MAX 64	 /* different ones */
#define TOKEN_MAX	   16384 /* octets that a command may print */

struct tokens;
struct token_wait;

struct tokens *tokens_new(uv_loop_t *loop);
/* Nobody may be waiting. What runs is killed; the memory goes with the next
 * turns of the loop. NULL is fine. */
void tokens_free(struct tokens *tokens);

/* token: lent for the call; NULL: why says what failed.
 * is_cached: it comes from an earlier run */
typedef void token_fn(void *owner, const char *token, bool is_cached,
		      const char *why);

/* The callback comes later, once. command: borrows */
struct token_wait *tokens_get(struct tokens *tokens, const char *command,
			      token_fn *on_token, void *owner);
void tokens_cancel(struct token_wait *wait);

/* A server refused it: the next who asks gets another. */
void tokens_forget(struct tokens *tokens, const char *command);

/*
 * What a command printed. *out_life_ms says how long it may be used: 0 for no
 * more than now.
 *
 * said  borrows; any octets
 * Returns the token, to be freed by mem_free_secret; NULL: there is none.
 */
char *token_answer(struct str said, uint64_t *out_life_ms);

/* Parts a command into words; NULL-terminated, the array is one allocation
 * with its words. NULL: a quote is not closed, or there is no word. */
char **token_words(const char *command);

#endif
