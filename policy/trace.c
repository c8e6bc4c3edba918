/* SPDX-License-Identifier: ISC */
#include "policy/trace.h"

#include <stdarg.h>
#include <stdio.h>

#include "lib/str.h"

#define TRACE_ADVICE_MAX                                                       \
	(sizeof(((struct trace *)0)->advice) /                                 \
	 sizeof(((struct trace *)0)->advice[0]))

void
trace_init(struct trace *trace)
{
	trace->count = 0;
	trace->advice_count = 0;
}

struct trace_step *
trace_add(struct trace *trace, const char *rule, bool is_match)
{
	struct trace_step *step;

	if (trace == NULL || trace->count == TRACE_STEPS_MAX)
		return NULL;
	step = &trace->steps[trace->count++];
	step->rule = rule;
	step->is_match = is_match;
	step->looked_at[0] = '\0';
	step->outcome[0] = '\0';
	return step;
}

/* Texts hold what strangers and operators wrote, and go into JSON. */
static void put_text(char *to, size_t size, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static void
put_text(char *to, size_t size, const char *format, va_list args)
{
	(void)vsnprintf(to, size, format, args);
	str_mend_end(to);
}

void
trace_looked_at(struct trace_step *step, const char *format, ...)
{
	va_list args;

	if (step == NULL)
		return;
	va_start(args, format);
	put_text(step->looked_at, sizeof(step->looked_at), format, args);
	va_end(args);
}

void
trace_outcome(struct trace_step *step, const char *format, ...)
{
	va_list args;

	if (step == NULL)
		return;
	va_start(args, format);
	put_text(step->outcome, sizeof(step->outcome), format, args);
	va_end(args);
}

void
trace_advice(struct trace *trace, const char *format, ...)
{
	va_list args;

	if (trace == NULL || trace->advice_count == TRACE_ADVICE_MAX)
		return;
	va_start(args, format);
	put_text(trace->advice[trace->advice_count], sizeof(trace->advice[0]),
		 format, args);
	va_end(args);
	trace->advice_count++;
}
