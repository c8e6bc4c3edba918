/* SPDX-License-Identifier: ISC */
/*
 * Logins, with libsasl2 behind them: a stranger against our server, and our
 * client against a server of strangers. The first byte chooses role and
 * mechanism; then a line for each step. Half of the inputs are turned into
 * base64 first, where "\1" stands for the nonce that the other side made, or
 * nothing behind the first step of SCRAM would ever be read.
 */
#include "tests/fuzz/fuzz.h"

#include <unistd.h>
#include <uv.h>

#include "auth/auth_client.h"
#include "auth/auth_server.h"
#include "auth/auth_users.h"
#include "auth/sasl.h"
#include "lib/buf.h"
#include "lib/mem.h"
#include "lib/work.h"

enum { AS_CLIENT = 1, IS_ENCODED = 2, IS_SECURE = 4 };

#define STEPS_MAX 8

static const char *const mechanisms[] = {"SCRAM-SHA-256", "PLAIN", "LOGIN",
					 "EXTERNAL", NULL};
static const char *const names[] = {"anna", "a@b.example", NULL};
static char dir[] = "/tmp/ostler-fuzz-XXXXXX", database[64];
static uv_loop_t loop;
static struct auth_server *server;

struct talk {
	unsigned flags;
	const char *mechanism;
	struct str rest; /* lines that are not said yet */
	struct auth_client *client;
	struct auth_exchange *exchange;
	char nonce[128];
	unsigned steps;
	bool is_over;
};

static void
remove_server(void)
{
	char lock[80];

	(void)snprintf(lock, sizeof(lock), "%s.lock", database);
	auth_server_close(server);
	(void)unlink(database);
	(void)unlink(lock);
	(void)rmdir(dir);
}

static void
make_server(void)
{
	struct auth_server_opts opts = {.mechanisms = mechanisms,
					.database = database,
					.realm = "ostler",
					.hostname = "mail.example"};
	struct err err = ERR_INIT;
	struct auth_users *users;

	FUZZ_CHECK(mkdtemp(dir) != NULL);
	(void)snprintf(database, sizeof(database), "%s/sasldb2", dir);
	FUZZ_CHECK(auth_users_open(database, "ostler", NULL, &users, &err) ==
		   0);
	FUZZ_CHECK(auth_users_add(users, "anna", "secret 1", &err) == 0);
	auth_users_close(users);
	work_init();
	FUZZ_CHECK(uv_loop_init(&loop) == 0);
	FUZZ_CHECK(auth_server_open(&loop, &opts, &server, &err) == 0);
	FUZZ_CHECK(atexit(remove_server) == 0);
}

/* What SCRAM's first message names as r=; "" for none. */
static void
note_nonce(struct talk *talk, const char *base64)
{
	unsigned len;
	char *text = auth_decode64(str_of(base64), &len);
	const char *at = text != NULL ? strstr(text, "r=") : NULL;

	if (at != NULL)
		(void)str_copy(talk->nonce, sizeof(talk->nonce),
			       str_from(at + 2, strcspn(at + 2, ",")));
	free(text);
}

/* The next line as it is to be said; the caller frees. NULL: no more. */
static char *
next_line(struct talk *talk)
{
	struct str line;
	struct buf text;
	char *said;

	if (talk->steps++ == STEPS_MAX || !str_cut(&talk->rest, '\n', &line))
		return NULL;
	if ((talk->flags & IS_ENCODED) == 0)
		return mem_dup(line.at, line.len);
	buf_init(&text, 1u << 20);
	for (size_t i = 0; i < line.len; i++)
		(void)(line.at[i] == '\1' ? buf_adds(&text, talk->nonce)
					  : buf_add(&text, line.at + i, 1));
	said = auth_encode64((const char *)buf_bytes(&text),
			     (unsigned)buf_len(&text));
	buf_done(&text);
	return said;
}

static void
on_server(void *owner, const struct auth_answer *answer)
{
	struct talk *talk = owner;
	char *line;

	switch (answer->result) {
	case AUTH_CHALLENGE:
		FUZZ_CHECK(answer->challenge != NULL);
		note_nonce(talk, answer->challenge);
		line = next_line(talk);
		talk->is_over = line == NULL;
		if (line != NULL)
			auth_step(talk->exchange, str_of(line));
		free(line);
		return;
	case AUTH_OK:
		FUZZ_CHECK(answer->login != NULL);
		FUZZ_CHECK(strcmp(answer->login, "anna") == 0);
		break;
	case AUTH_DENIED:
	case AUTH_BAD_DATA:
	case AUTH_TEMPORARY:
		FUZZ_CHECK(answer->reason == NULL ||
			   strlen(answer->reason) < 1000);
		break;
	}
	talk->is_over = true;
}

static void
on_client(void *owner, const struct auth_client_answer *answer)
{
	struct talk *talk = owner;
	char *line = NULL;

	if (answer->result == AUTH_CLIENT_SEND) {
		FUZZ_CHECK(answer->mechanism != NULL);
		if (answer->data != NULL)
			note_nonce(talk, answer->data);
		line = next_line(talk);
	}
	talk->is_over = line == NULL;
	if (line != NULL)
		auth_client_step(talk->client, str_of(line));
	free(line);
}

static void
begin_server(struct talk *talk)
{
	struct auth_start start = {
		.mechanism = str_of(talk->mechanism),
		.is_secure = (talk->flags & IS_SECURE) != 0,
		.names = names,
	};
	char *initial = next_line(talk);

	start.has_initial = initial != NULL && initial[0] != '\0';
	start.initial = str_of(initial != NULL ? initial : "");
	talk->exchange = auth_begin(server, &start, on_server, talk);
	free(initial);
}

static void
begin_client(struct talk *talk)
{
	struct auth_client_start start = {
		.offered = talk->mechanism,
		.user = "anna",
		.password = "secret 1",
		.host = "mail.example",
		.port = 25,
		.is_secure = (talk->flags & IS_SECURE) != 0,
	};

	if (strcmp(talk->mechanism, "EXTERNAL") == 0) {
		start.offered = "XOAUTH2 OAUTHBEARER";
		start.token = "token";
	}
	talk->client = auth_client_begin(&loop, &start, on_client, talk);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct talk talk = {0};

	if (size == 0)
		return 0;
	if (server == NULL)
		make_server();
	talk.flags = data[0] & 7;
	talk.mechanism = mechanisms[(data[0] >> 3) & 3];
	talk.rest = str_from((const char *)data + 1, size - 1);
	if ((talk.flags & AS_CLIENT) != 0)
		begin_client(&talk);
	else
		begin_server(&talk);
	while (!talk.is_over)
		(void)uv_run(&loop, UV_RUN_ONCE);
	/* whatever was heard, a server that never saw the password has not
	 * proved that it knows it */
	FUZZ_CHECK((talk.flags & AS_CLIENT) == 0 ||
		   strcmp(talk.mechanism, "SCRAM-SHA-256") != 0 ||
		   !auth_client_is_complete(talk.client));
	auth_client_free(talk.client);
	auth_free(talk.exchange);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	return 0;
}
