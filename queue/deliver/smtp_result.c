/* SPDX-License-Identifier: ISC */
#include "queue/deliver/smtp_client_internal.h"

#include <stdlib.h>

#include "lib/mem.h"

static struct smtp_result *
result_new(void)
{
	struct smtp_result *result = mem_zalloc(sizeof(*result));

	result->refs = 1;
	return result;
}

struct smtp_result *
result_ref(struct smtp_result *result)
{
	result->refs++;
	return result;
}

void
result_unref(struct smtp_result *result)
{
	if (result == NULL || --result->refs != 0)
		return;
	free(result->reply);
	free(result);
}

struct smtp_result *
result_of_reply(struct smtp_client *client, enum smtp_phase phase)
{
	struct smtp_result *result = result_new();
	const struct status *status = &client->reply.status;

	result->kind = status->code < 300   ? OUTCOME_DELIVERED
		       : status->code < 500 ? OUTCOME_DEFERRED
					    : OUTCOME_FAILED;
	result->cause = CAUSE_REPLY;
	result->phase = phase;
	result->status = *status;
	result->reply = mem_strdup(smtp_reply_text(&client->reply));
	result->has_dsn =
		result->kind == OUTCOME_DELIVERED && client->caps.has_dsn;
	return result;
}

struct smtp_result *
result_of_cause(enum cause cause, enum smtp_phase phase, const char *text)
{
	struct smtp_result *result = result_new();
	struct outcome outcome;

	outcome_own(&outcome, cause, phase, "%s", text);
	result->kind = outcome.kind;
	result->cause = cause;
	result->phase = phase;
	result->is_own_fault = outcome.is_own_fault;
	result->status = outcome.status;
	return result;
}
