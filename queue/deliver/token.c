/* SPDX-License-Identifier: ISC */
#include "queue/deliver/token.h"

#include <assert.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/environment.h"
#include "lib/list.h"
#include "lib/mem.h"
#include "lib/str.h"

#define RUN_MS	  30000	 /* a command may take */
#define FAILED_MS 60000	 /* until it is run again */
#define PLAIN_MS  300000 /* a token that does not say how long */
#define EARLY_S	  60	 /* it is used no more before it ends */
#define WORDS_MAX 4096	 /* octets that a command says on standard error */

struct token {
	struct tokens *tokens; /* NULL: they are gone, and so will this be */
	struct list link;
	char *command;	   /* owns */
	char *text;	   /* owns; NULL: none */
	char *why;	   /* owns; NULL: it did not fail */
	uint64_t until_ms; /* boot clock; of text or why */
	struct list waiting;

	/* the run; open handles of it */
	unsigned open;
	bool is_running, has_exited;
	int64_t status;
	int signal;
	uv_process_t process;
	uv_pipe_t out, err;
	uv_timer_t timer;
	struct buf said, complained;
	char room[4096]; /* both read into it */
};

struct token_wait {
	struct list link; /* of its token; or none, while it is told */
	struct token *token;
	uv_timer_t timer; /* what is known already is told later */
	bool has_timer;
	token_fn *on_token;
	void *owner;
};

struct tokens {
	uv_loop_t *loop;
	struct list list;
	size_t count;
};

/* ----------------------------------------------------------------- words */

char **
token_words(const char *command)
{
	size_t len = strlen(command), count = 0;
	/* each word takes at least a letter and a blank */
	size_t max = len / 2 + 2;
	char **words = mem_zalloc(max * sizeof(*words) + len + 1);
	char *to = (char *)(words + max);
	char quote = '\0';
	bool is_word = false;

	for (const char *at = command; *at != '\0'; at++) {
		bool is_blank = quote == '\0' && (*at == ' ' || *at == '\t');

		if (is_blank && is_word) {
			*to++ = '\0';
			is_word = false;
		}
		if (is_blank)
			continue;
		if (!is_word) {
			words[count++] = to;
			is_word = true;
		}
		if (quote == '\0' && (*at == '"' || *at == '\''))
			quote = *at;
		else if (quote != '\0' && *at == quote)
			quote = '\0';
		else
			*to++ = *at;
	}
	*to = '\0';
	if (quote != '\0' || count == 0) {
		free(words);
		return NULL;
	}
	return words;
}

/* ------------------------------------------------------------ the answer */

static void
token_free(struct token *token)
{
	mem_free_secret(token->text);
	free(token->why);
	free(token->command);
	buf_wipe(&token->said);
	buf_done(&token->complained);
	free(token);
}

static void
on_wait_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void
wait_free(struct token_wait *wait)
{
	list_remove(&wait->link);
	if (wait->has_timer)
		uv_close((uv_handle_t *)&wait->timer, on_wait_closed);
	else
		free(wait);
}

static void
wait_tell(struct token_wait *wait, bool is_cached)
{
	const struct token *token = wait->token;
	token_fn *on_token = wait->on_token;
	void *owner = wait->owner;

	wait_free(wait);
	on_token(owner, token->text, is_cached,
		 token->text == NULL ? token->why : NULL);
}

static void
token_tell(struct token *token)
{
	struct list waiting;
	struct list *node;

	list_init(&waiting);
	for (node = list_pop(&token->waiting); node != NULL;
	     node = list_pop(&token->waiting))
		list_push(&waiting, node);
	for (node = list_pop(&waiting); node != NULL;
	     node = list_pop(&waiting)) {
		list_init(node);
		wait_tell(container_of(node, struct token_wait, link), false);
	}
}

static void
token_fail(struct token *token, const char *why)
{
	struct str words = str_trim(str_of(buf_text(&token->complained)));
	struct str line;

	if (!str_cut(&words, '\n', &line))
		line = str_of("");
	free(token->why);
	token->why = mem_printf("token_command: %s%s%.*s", why,
				line.len != 0 ? ": " : "",
				line.len < 300 ? (int)line.len : 300,
				line.len != 0 ? line.at : "");
	token->until_ms = clock_boot_ms() + FAILED_MS;
}

static bool
is_token(struct str text)
{
	/* RFC 6750, 2.1: printable, no blanks */
	for (size_t i = 0; i < text.len; i++)
		if (text.at[i] <= ' ' || text.at[i] > '~')
			return false;
	return text.len != 0;
}

static char *
take(struct str text, uint64_t life_ms, uint64_t *out_life_ms)
{
	if (!is_token(text))
		return NULL;
	*out_life_ms = life_ms;
	return mem_dup(text.at, text.len);
}

/* Each string in it is wiped where jansson keeps it: the token, and whatever
 * else the command printed beside it (a refresh token). */
static void
json_wipe(json_t *json)
{
	const char *key;
	json_t *value;
	size_t i;

	if (json_is_string(json))
		mem_wipe((char *)(uintptr_t)json_string_value(json),
			 json_string_length(json));
	json_object_foreach(json, key, value) json_wipe(value);
	json_array_foreach(json, i, value) json_wipe(value);
}

static uint64_t
json_life_ms(const json_t *object)
{
	const json_t *life = json_object_get(object, "expires_in");
	json_int_t seconds = json_integer_value(life);

	if (!json_is_integer(life))
		return PLAIN_MS;
	if (seconds <= EARLY_S)
		return 0;
	return seconds > 31557600 ? UINT64_C(31557600000)
				  : (uint64_t)(seconds - EARLY_S) * 1000;
}

char *
token_answer(struct str said, uint64_t *out_life_ms)
{
	struct str line;
	const char *text;
	json_t *object;
	char *token;

	if (said.len == 0 || said.at[0] != '{') {
		if (!str_cut(&said, '\n', &line))
			line = str_of("");
		if (line.len != 0 && line.at[line.len - 1] == '\r')
			line.len--;
		return take(line, PLAIN_MS, out_life_ms);
	}
	object = json_loadb(said.at, said.len, 0, NULL);
	text = json_string_value(json_object_get(object, "access_token"));
	token = take(str_of(text != NULL ? text : ""), json_life_ms(object),
		     out_life_ms);
	json_wipe(object);
	json_decref(object);
	return token;
}

static void
token_read(struct token *token)
{
	struct str said = str_from((const char *)buf_bytes(&token->said),
				   buf_len(&token->said));
	uint64_t life_ms;

	token->text = token_answer(said, &life_ms);
	if (token->text == NULL)
		token_fail(token, "it printed no token");
	else
		token->until_ms = clock_boot_ms() + life_ms;
}

/* ---------------------------------------------------------------- the run */

static void
token_finish(struct token *token)
{
	char why[64];

	token->is_running = false;
	if (token->tokens == NULL) {
		token_free(token);
		return;
	}
	if (token->why == NULL && token->status == 0 && token->signal == 0) {
		token_read(token);
	} else if (token->why == NULL) {
		(void)snprintf(why, sizeof(why),
			       token->signal != 0 ? "signal %lld" : "exit %lld",
			       token->signal != 0 ? (long long)token->signal
						  : (long long)token->status);
		token_fail(token, why);
	}
	buf_wipe(&token->said);
	buf_done(&token->complained);
	token_tell(token);
}

static void
on_closed(uv_handle_t *handle)
{
	struct token *token = handle->data;

	if (--token->open == 0)
		token_finish(token);
}

static void
close_once(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_closed);
}

static void
token_kill(struct token *token)
{
	/* its children too: it has a group of its own */
	if (!token->has_exited && token->process.pid > 0)
		(void)kill(-token->process.pid, SIGKILL);
}

/* All is over when it has ended and said all, or must not say more. */
static void
token_end_run(struct token *token)
{
	token_kill(token);
	close_once((uv_handle_t *)&token->out);
	close_once((uv_handle_t *)&token->err);
	close_once((uv_handle_t *)&token->timer);
	if (token->has_exited)
		close_once((uv_handle_t *)&token->process);
}

static void
token_step(struct token *token)
{
	if (token->has_exited && uv_is_closing((uv_handle_t *)&token->out) &&
	    uv_is_closing((uv_handle_t *)&token->err))
		token_end_run(token);
}

static void
on_exit_of(uv_process_t *process, int64_t status, int number)
{
	struct token *token = process->data;

	token->has_exited = true;
	token->status = status;
	token->signal = number;
	close_once((uv_handle_t *)process);
	token_step(token);
}

static void
on_time(uv_timer_t *timer)
{
	struct token *token = timer->data;

	token_fail(token, "it took more than 30 seconds");
	token_end_run(token);
}

static void
on_room(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
	struct token *token = handle->data;

	(void)size;
	*out = uv_buf_init(token->room, sizeof(token->room));
}

static void
on_said(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
	struct token *token = stream->data;
	bool is_out = stream == (uv_stream_t *)&token->out;

	if (got < 0) {
		close_once((uv_handle_t *)stream);
		token_step(token);
		return;
	}
	if (is_out && buf_add(&token->said, bytes->base, (size_t)got) < 0) {
		token_fail(token, "it printed more than 16 KiB");
		token_end_run(token);
	}
	/* of its complaints the beginning is enough */
	if (!is_out)
		(void)buf_add(&token->complained, bytes->base, (size_t)got);
	mem_wipe(token->room, sizeof(token->room));
}

static int
token_spawn(struct token *token, char **words)
{
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_IGNORE},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		 .data.stream = (uv_stream_t *)&token->out},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		 .data.stream = (uv_stream_t *)&token->err},
	};
	char *environment[ENVIRONMENT_COMMAND_MAX];
	uv_process_options_t options = {
		.exit_cb = on_exit_of,
		.file = words[0],
		.args = words,
		.env = environment,
		.stdio = stdio,
		.stdio_count = 3,
		.flags = UV_PROCESS_DETACHED, /* a group of its own */
	};

	environment_for_command(environment);
	return uv_spawn(token->tokens->loop, &token->process, &options);
}

static void
token_start(struct token *token)
{
	uv_loop_t *loop = token->tokens->loop;
	char **words = token_words(token->command);
	int rc = UV_EINVAL;

	mem_free_secret(token->text);
	free(token->why);
	token->text = token->why = NULL;
	token->is_running = true;
	token->has_exited = false;
	token->status = 0;
	token->signal = 0;
	token->open = 4;
	buf_init(&token->said, TOKEN_MAX);
	/* at once, for a buffer that grows leaves copies behind */
	(void)buf_reserve(&token->said, TOKEN_MAX);
	buf_init(&token->complained, WORDS_MAX);
	memset(&token->process, 0, sizeof(token->process));
	(void)uv_pipe_init(loop, &token->out, 0);
	(void)uv_pipe_init(loop, &token->err, 0);
	(void)uv_timer_init(loop, &token->timer);
	token->process.data = token->out.data = token->err.data =
		token->timer.data = token;
	if (words != NULL)
		rc = token_spawn(token, words);
	free(words);
	if (rc < 0) {
		token_fail(token, uv_strerror(rc));
		token->has_exited = true;
		/* uv_spawn has made the handle, whatever else it did not */
		if (token->process.loop == NULL)
			token->open--;
		else
			close_once((uv_handle_t *)&token->process);
		close_once((uv_handle_t *)&token->out);
		close_once((uv_handle_t *)&token->err);
		close_once((uv_handle_t *)&token->timer);
		return;
	}
	(void)uv_read_start((uv_stream_t *)&token->out, on_room, on_said);
	(void)uv_read_start((uv_stream_t *)&token->err, on_room, on_said);
	(void)uv_timer_start(&token->timer, on_time, RUN_MS, 0);
}

/* ---------------------------------------------------------------- contract */

static struct token *
tokens_find(struct tokens *tokens, const char *command)
{
	struct list *node;

	list_each (node, &tokens->list) {
		struct token *token = container_of(node, struct token, link);

		if (strcmp(token->command, command) == 0)
			return token;
	}
	return NULL;
}

/* One that nobody uses at the moment gives way. */
static void
tokens_make_room(struct tokens *tokens)
{
	struct list *node, *after;

	list_each_safe (node, after, &tokens->list) {
		struct token *token = container_of(node, struct token, link);

		if (tokens->count < TOKEN_COMMANDS_MAX)
			return;
		if (token->is_running || !list_is_empty(&token->waiting))
			continue;
		list_remove(&token->link);
		tokens->count--;
		token_free(token);
	}
}

static void
on_later(uv_timer_t *timer)
{
	struct token_wait *wait = timer->data;

	/* forgotten and run again meanwhile: it waits for that */
	if (!wait->token->is_running)
		wait_tell(wait, true);
}

struct token_wait *
tokens_get(struct tokens *tokens, const char *command, token_fn *on_token,
	   void *owner)
{
	struct token *token = tokens_find(tokens, command);
	struct token_wait *wait = mem_zalloc(sizeof(*wait));

	if (token == NULL) {
		tokens_make_room(tokens);
		token = mem_zalloc(sizeof(*token));
		token->tokens = tokens;
		token->command = mem_strdup(command);
		list_init(&token->waiting);
		list_push(&tokens->list, &token->link);
		tokens->count++;
	}
	wait->token = token;
	wait->on_token = on_token;
	wait->owner = owner;
	list_init(&wait->link);
	list_push(&token->waiting, &wait->link);
	if (!token->is_running && token->until_ms > clock_boot_ms()) {
		wait->has_timer = true;
		(void)uv_timer_init(tokens->loop, &wait->timer);
		wait->timer.data = wait;
		(void)uv_timer_start(&wait->timer, on_later, 0, 0);
	} else if (!token->is_running) {
		token_start(token);
	}
	return wait;
}

void
tokens_cancel(struct token_wait *wait)
{
	wait_free(wait);
}

void
tokens_forget(struct tokens *tokens, const char *command)
{
	struct token *token = tokens_find(tokens, command);

	if (token != NULL && !token->is_running)
		token->until_ms = 0;
}

struct tokens *
tokens_new(uv_loop_t *loop)
{
	struct tokens *tokens = mem_zalloc(sizeof(*tokens));

	tokens->loop = loop;
	list_init(&tokens->list);
	return tokens;
}

void
tokens_free(struct tokens *tokens)
{
	struct list *node, *after;

	if (tokens == NULL)
		return;
	list_each_safe (node, after, &tokens->list) {
		struct token *token = container_of(node, struct token, link);

		assert(list_is_empty(&token->waiting));
		list_remove(&token->link);
		token->tokens = NULL;
		if (token->is_running)
			token_end_run(token);
		else
			token_free(token);
	}
	free(tokens);
}
