/* SPDX-License-Identifier: ISC */
/*
 * What an attempt taught about its destination: how much it is given from now
 * on, and what is said, once, when our login there is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "queue/core.h"

/* Does it say that our own login is of no use there? */
static bool
is_login(const struct outcome *outcome)
{
	return outcome->cause == CAUSE_AUTH_FAILED ||
	       outcome->cause == CAUSE_AUTH_NOT_OFFERED;
}

/* An operator has to mend it, and all mail of the route waits until he does:
 * said loudly, and not for each message. */
static void
log_login(const struct destination *to, const struct outcome *outcome,
	  const char *words)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_ERROR, "auth");
	log_text(&line, "via", to->key);
	log_text(&line, "result", "refused");
	log_text(&line, "host", outcome->host);
	log_number(&line, "port", outcome->port);
	log_text(&line, "reply", words);
	log_text(&line, "reason",
		 "our login there is refused; all mail of this next hop waits");
	log_end(&line);
}

static void
learn_down(struct run *run, const struct outcome *outcome)
{
	struct queue *queue = run->queue;
	struct destination *to = run->leg->destination;
	const struct outcome *before = to->lesson;
	char words[OUTCOME_REPLY_MAX];
	struct classification class;

	settle_words(outcome, words, sizeof(words));
	if (is_login(outcome) && (before == NULL || !is_login(before)))
		log_login(to, outcome, words);
	classify_outcome(queue->classifier, outcome, &class);
	schedule_failed(&queue->schedule, to,
			queue_boot_ms(queue) +
				(uint64_t)queue->retry_s[0] * 1000,
			words, (unsigned)class.category + 1);
	run->leg->is_down = true;
	if (to->lesson == NULL)
		to->lesson = mem_alloc(sizeof(*outcome));
	memcpy(to->lesson, outcome, sizeof(*outcome));
}

void
run_learn(struct run *run, const struct outcome *outcomes)
{
	struct queue *queue = run->queue;
	struct destination *to = run->leg->destination;

	switch (settle_lesson(outcomes, run->count)) {
	case LESSON_ANSWERED:
		schedule_answered(&queue->schedule, to);
		free(to->lesson);
		to->lesson = NULL;
		break;
	case LESSON_SLOW_DOWN:
		schedule_slow_down(&queue->schedule, to);
		break;
	case LESSON_DOWN:
		learn_down(run, &outcomes[0]);
		break;
	case LESSON_NONE:
		break;
	}
}
