/* SPDX-License-Identifier: ISC */
/*
 * Our server and our client log in to each other, over a database that our
 * user commands made: every mechanism, right and wrong.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "auth/auth_client.h"
#include "auth/auth_server.h"
#include "auth/auth_users.h"
#include "auth/sasl.h"
#include "lib/mem.h"
#include "lib/work.h"

static const char *const mechanisms[] = {"SCRAM-SHA-256", "PLAIN", "LOGIN",
					 NULL};
static char dir[64], database[96];
static uv_loop_t loop;
static struct auth_server *server;

static void
make_database(void)
{
	struct auth_users *users;
	struct err err = ERR_INIT;

	(void)snprintf(dir, sizeof(dir), "/tmp/ostler-auth-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(database, sizeof(database), "%s/sasldb2", dir);
	ck_assert_msg(auth_users_open(database, "ostler", NULL, &users, &err) ==
			      0,
		      "%s", err.text);
	ck_assert_msg(auth_users_add(users, "anna", "secret 1", &err) == 0,
		      "%s", err.text);
	ck_assert_int_eq(auth_users_add(users, "b@example.org", "s2", &err), 0);
	auth_users_close(users);
}

static void
remove_database(void)
{
	char path[128];

	(void)unlink(database);
	(void)snprintf(path, sizeof(path), "%s.lock", database);
	(void)unlink(path);
	ck_assert_int_eq(rmdir(dir), 0); /* nothing else was left there */
}

static void
open_server(void)
{
	struct auth_server_opts opts = {
		.mechanisms = mechanisms,
		.database = database,
		.realm = "ostler",
		.hostname = "mail.example",
	};
	struct err err = ERR_INIT;

	make_database();
	work_init();
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_msg(auth_server_open(&loop, &opts, &server, &err) == 0, "%s",
		      err.text);
}

static void
close_server(void)
{
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	auth_server_close(server);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	remove_database();
}

/* One conversation, with the network cut out. */
struct talk {
	struct auth_client *client;
	struct auth_exchange *exchange;
	bool is_secure, is_over;
	unsigned challenges;
	enum auth_result result;
	char login[64], mechanism[32];
};

static void on_server(void *owner, const struct auth_answer *answer);

static void
on_client(void *owner, const struct auth_client_answer *answer)
{
	struct talk *talk = owner;

	if (answer->result == AUTH_CLIENT_FAILED) {
		talk->is_over = true;
		talk->result = AUTH_BAD_DATA;
		return;
	}
	if (talk->exchange == NULL) {
		struct auth_start start = {
			.mechanism = str_of(answer->mechanism),
			.has_initial = answer->data != NULL,
			.is_secure = talk->is_secure,
		};

		if (answer->data != NULL)
			start.initial = str_of(answer->data);
		(void)snprintf(talk->mechanism, sizeof(talk->mechanism), "%s",
			       answer->mechanism);
		talk->exchange = auth_begin(server, &start, on_server, talk);
	} else {
		auth_step(talk->exchange,
			  str_of(answer->data != NULL ? answer->data : ""));
	}
}

static void
on_server(void *owner, const struct auth_answer *answer)
{
	struct talk *talk = owner;

	if (answer->result == AUTH_CHALLENGE) {
		talk->challenges++;
		auth_client_step(talk->client, str_of(answer->challenge));
		return;
	}
	talk->is_over = true;
	talk->result = answer->result;
	if (answer->login != NULL)
		(void)snprintf(talk->login, sizeof(talk->login), "%s",
			       answer->login);
}

static void
hold_talk(struct talk *talk, const char *mechanism, const char *user,
	  const char *password, bool is_secure)
{
	struct auth_client_start start = {
		.offered = mechanism,
		.user = user,
		.password = password,
		.host = "mail.example",
		.is_secure = is_secure,
	};

	memset(talk, 0, sizeof(*talk));
	talk->is_secure = is_secure;
	talk->client = auth_client_begin(&loop, &start, on_client, talk);
	while (!talk->is_over)
		(void)uv_run(&loop, UV_RUN_ONCE);
	auth_client_free(talk->client);
	auth_free(talk->exchange);
}

static const struct {
	const char *mechanism, *user, *password;
	bool is_secure;
	enum auth_result result;
	const char *login;
} cases[] = {
	{"PLAIN", "anna", "secret 1", true, AUTH_OK, "anna"},
	{"LOGIN", "anna", "secret 1", true, AUTH_OK, "anna"},
	{"SCRAM-SHA-256", "anna", "secret 1", true, AUTH_OK, "anna"},
	{"SCRAM-SHA-256", "anna", "secret 1", false, AUTH_OK, "anna"},
	{"PLAIN", "b@example.org", "s2", true, AUTH_OK, "b@example.org"},
	{"SCRAM-SHA-256", "b@example.org", "s2", true, AUTH_OK,
	 "b@example.org"},
	{"PLAIN", "anna", "secret 2", true, AUTH_DENIED, NULL},
	{"LOGIN", "anna", "secret 2", true, AUTH_DENIED, NULL},
	{"SCRAM-SHA-256", "anna", "secret 2", true, AUTH_DENIED, NULL},
	{"PLAIN", "nobody", "x", true, AUTH_DENIED, NULL},
	{"LOGIN", "nobody", "x", true, AUTH_DENIED, NULL},
	{"SCRAM-SHA-256", "nobody", "x", true, AUTH_DENIED, NULL},
	{"PLAIN", "b", "s2", true, AUTH_DENIED, NULL},
	{"PLAIN", "anna", "", true, AUTH_DENIED, NULL},
};

START_TEST(each_mechanism_takes_the_right_password_only)
{
	struct talk talk;

	open_server();
	hold_talk(&talk, cases[_i].mechanism, cases[_i].user,
		  cases[_i].password, cases[_i].is_secure);
	ck_assert_int_eq(talk.result, cases[_i].result);
	if (cases[_i].login != NULL)
		ck_assert_str_eq(talk.login, cases[_i].login);
	close_server();
}
END_TEST

/* ostlerctl does not make such a login; another tool may, or another database
 * than ours have it. */
START_TEST(nobody_becomes_a_peer_of_a_unix_socket_by_a_password)
{
	static const char *const all[] = {"PLAIN", "SCRAM-SHA-256"};
	char command[256];
	struct talk talk;

	open_server();
	(void)snprintf(command, sizeof(command),
		       "PATH=$PATH:/usr/sbin; printf pw | saslpasswd2 -p -c "
		       "-f %s -u ostler unix:root",
		       database);
	ck_assert_int_eq(system(command), 0);
	hold_talk(&talk, all[_i], "unix:root", "pw", true);
	ck_assert_int_eq(talk.result, AUTH_DENIED);
	close_server();
}
END_TEST

START_TEST(an_unknown_login_takes_as_many_steps_as_a_wrong_password)
{
	struct talk known, unknown;

	open_server();
	for (size_t i = 0; mechanisms[i] != NULL; i++) {
		hold_talk(&known, mechanisms[i], "anna", "wrong", true);
		hold_talk(&unknown, mechanisms[i], "nobody", "wrong", true);
		ck_assert_int_eq(known.result, AUTH_DENIED);
		ck_assert_int_eq(unknown.result, AUTH_DENIED);
		ck_assert_uint_eq(known.challenges, unknown.challenges);
	}
	close_server();
}
END_TEST

START_TEST(plain_text_is_offered_only_where_nobody_listens)
{
	open_server();
	ck_assert_str_eq(auth_server_mechanisms(server, 0), "SCRAM-SHA-256");
	ck_assert_str_eq(auth_server_mechanisms(server, AUTH_OFFER_SECURE),
			 "SCRAM-SHA-256 PLAIN LOGIN");
	ck_assert_str_eq(auth_server_mechanisms(server, AUTH_OFFER_BOUND),
			 "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
	close_server();
}
END_TEST

static const char *const two_names[] = {"x@example.org", "b@example.org", NULL};
static const char *const one_name[] = {"anna", NULL};
static const char *const realm_name[] = {"anna@ostler", NULL};

/* What an operator's list makes of them. */
static const char *const not_listed[] = {NULL, NULL};
static const char *const listed_second[] = {NULL, "anna", NULL};
static const char *const listed_nobody[] = {"nobody", "anna", NULL};
static const char *const listed_unix[] = {"unix:root", NULL};

static const struct {
	const char *const *names;
	const char *initial; /* base64; NULL: none, it comes as an answer */
	enum auth_result result;
	const char *login;
	const char *const *logins;
} externals[] = {
	{one_name, "=", AUTH_OK, "anna", NULL},
	{one_name, NULL, AUTH_OK, "anna", NULL},
	{one_name, "YW5uYQ==", AUTH_OK, "anna", NULL},
	{one_name, "YkBleGFtcGxlLm9yZw==", AUTH_DENIED, "anna", NULL},
	{two_names, "=", AUTH_OK, "b@example.org", NULL},
	{two_names, "YkBleGFtcGxlLm9yZw==", AUTH_OK, "b@example.org", NULL},
	{two_names, "eEBleGFtcGxlLm9yZw==", AUTH_DENIED, "x@example.org", NULL},
	{realm_name, "=", AUTH_DENIED, "anna@ostler", NULL},
	{one_name, "!", AUTH_BAD_DATA, NULL, NULL},
	{NULL, "=", AUTH_DENIED, NULL, NULL},
	{one_name, "=", AUTH_DENIED, "anna", not_listed},
	{two_names, "=", AUTH_OK, "anna", listed_second},
	{two_names, "YW5uYQ==", AUTH_OK, "anna", listed_second},
	/* the name is a login, but not this certificate's */
	{two_names, "YkBleGFtcGxlLm9yZw==", AUTH_DENIED, "x@example.org",
	 listed_second},
	/* a list makes no logins of those that a database does not have */
	{two_names, "=", AUTH_OK, "anna", listed_nobody},
	{one_name, "=", AUTH_DENIED, "anna", listed_unix},
};

struct external_talk {
	enum auth_result result;
	char login[64];
	unsigned answers;
};

static void
on_external(void *owner, const struct auth_answer *answer)
{
	struct external_talk *talk = owner;

	talk->answers++;
	talk->result = answer->result;
	(void)snprintf(talk->login, sizeof(talk->login), "%s",
		       answer->login != NULL ? answer->login : "");
}

static const struct {
	const char *user, *offered, *mechanism;
	const char *data; /* base64 */
} bearers[] = {
	/* n,a=anna,^Ahost=mx.example^Aport=587^Aauth=Bearer tok^A^A */
	{"anna", "PLAIN OAUTHBEARER XOAUTH2", "OAUTHBEARER",
	 "bixhPWFubmEsAWhvc3Q9bXguZXhhbXBsZQFwb3J0PTU4NwFhdXRoPUJlYXJlciB0b2sB"
	 "AQ=="},
	/* n,a=a=3Db=2Cc, ... (RFC 5801, 4) */
	{"a=b,c", "OAUTHBEARER", "OAUTHBEARER",
	 "bixhPWE9M0RiPTJDYywBaG9zdD1teC5leGFtcGxlAXBvcnQ9NTg3AWF1dGg9QmVhcmVy"
	 "IHRvawEB"},
	/* user=a=b,c^Aauth=Bearer tok^A^A */
	{"a=b,c", "XOAUTH2", "XOAUTH2",
	 "dXNlcj1hPWIsYwFhdXRoPUJlYXJlciB0b2sBAQ=="},
};

struct bearer_talk {
	unsigned answers;
	enum auth_client_result result;
	char mechanism[32], data[256];
};

static void
on_bearer(void *owner, const struct auth_client_answer *answer)
{
	struct bearer_talk *talk = owner;

	talk->answers++;
	talk->result = answer->result;
	(void)snprintf(talk->mechanism, sizeof(talk->mechanism), "%s",
		       answer->mechanism != NULL ? answer->mechanism : "");
	(void)snprintf(talk->data, sizeof(talk->data), "%s",
		       answer->data != NULL ? answer->data : "");
}

START_TEST(a_token_is_sent_in_one_message)
{
	struct auth_client_start start = {
		.offered = bearers[_i].offered,
		.user = bearers[_i].user,
		.token = "tok",
		.port = 587,
		.host = "mx.example",
		.is_secure = true,
	};
	struct bearer_talk talk = {.answers = 0};
	struct auth_client *client;

	open_server();
	client = auth_client_begin(&loop, &start, on_bearer, &talk);
	while (talk.answers == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_int_eq(talk.result, AUTH_CLIENT_SEND);
	ck_assert_str_eq(talk.mechanism, bearers[_i].mechanism);
	ck_assert_str_eq(talk.data, bearers[_i].data);
	auth_client_free(client);
	close_server();
}
END_TEST

START_TEST(a_certificate_is_its_first_name_that_is_a_login)
{
	const char *initial = externals[_i].initial;
	const char *login = externals[_i].login;
	struct auth_start start = {
		.mechanism = str_of("EXTERNAL"),
		.is_secure = true,
		.has_initial = initial != NULL,
		.initial = str_of(initial != NULL ? initial : ""),
		.names = externals[_i].names,
		.logins = externals[_i].logins,
	};
	struct external_talk talk = {.answers = 0};
	struct auth_exchange *exchange;

	open_server();
	exchange = auth_begin(server, &start, on_external, &talk);
	while (talk.answers == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	if (initial == NULL) {
		ck_assert_int_eq(talk.result, AUTH_CHALLENGE);
		auth_step(exchange, str_of(""));
		while (talk.answers == 1)
			(void)uv_run(&loop, UV_RUN_ONCE);
	}
	ck_assert_int_eq(talk.result, externals[_i].result);
	ck_assert_str_eq(talk.login, login != NULL ? login : "");
	auth_free(exchange);
	close_server();
}
END_TEST

/* What stands in front of the name, and behind it. Of most of these the
 * plugins of libsasl2 leak the message. */
static const struct {
	const char *mechanism, *front, *back;
	size_t front_len, back_len, name_len;
} no_names[] = {
	{"LOGIN", "", "", 0, 0, 0},
	{"LOGIN", "\v\0", "", 2, 0, 0},
	{"LOGIN", " \v ", "", 3, 0, 0},
	{"LOGIN", "\v", "", 1, 0, 1},
	{"LOGIN", "  ", "\t", 2, 1, 2},
	{"LOGIN", "", "", 0, 0, 513},
	{"LOGIN", "", "", 0, 0, 5000},
	{"PLAIN", "\0", "\0pw", 1, 3, 513},
	{"PLAIN", "\0", "\0pw", 1, 3, 5000},
	{"PLAIN", "", "\0anna\0secret 1", 0, 14, 5000},
	{"PLAIN", "\0", "\0pw", 1, 3, 0},
	{"PLAIN", "anna\0", "\0pw", 5, 3, 0},
	{"SCRAM-SHA-256", "n,,n=", ",r=abcdefgh", 5, 11, 5000},
	{"SCRAM-SHA-256", "n,a=", ",n=anna,r=abcdefgh", 4, 18, 5000},
	{"SCRAM-SHA-256", "n,,n=", ",r=abcdefgh", 5, 11, 0},
};

struct no_name_talk {
	struct auth_exchange *exchange;
	char *message; /* base64 */
	enum auth_result result;
	unsigned challenges;
};

static void
on_no_name(void *owner, const struct auth_answer *answer)
{
	struct no_name_talk *talk = owner;

	talk->result = answer->result;
	if (answer->result == AUTH_CHALLENGE && talk->challenges++ == 0)
		auth_step(talk->exchange, str_of(talk->message));
}

START_TEST(a_name_that_nobody_can_have_is_denied_before_the_library_sees_it)
{
	char text[6000];
	size_t name = no_names[_i].front_len, len;
	struct auth_start start = {
		.mechanism = str_of(no_names[_i].mechanism),
		.is_secure = true,
	};
	struct no_name_talk talk = {0};

	memcpy(text, no_names[_i].front, name);
	memset(text + name, 'a', no_names[_i].name_len);
	len = name + no_names[_i].name_len;
	memcpy(text + len, no_names[_i].back, no_names[_i].back_len);
	len += no_names[_i].back_len;
	talk.message = auth_encode64(text, (unsigned)len);

	open_server();
	talk.exchange = auth_begin(server, &start, on_no_name, &talk);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(talk.result, AUTH_DENIED);
	ck_assert_uint_eq(talk.challenges, 1);
	auth_free(talk.exchange);
	free(talk.message);
	close_server();
}
END_TEST

START_TEST(login_asks_for_the_name_behind_an_empty_initial_response)
{
	struct auth_start start = {
		.mechanism = str_of("LOGIN"),
		.has_initial = true,
		.initial = str_of("="),
		.is_secure = true,
	};
	struct no_name_talk talk = {.message = auth_encode64("", 0)};

	open_server();
	talk.exchange = auth_begin(server, &start, on_no_name, &talk);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_uint_eq(talk.challenges, 1);
	ck_assert_int_eq(talk.result, AUTH_DENIED); /* still no name */
	auth_free(talk.exchange);
	free(talk.message);
	close_server();
}
END_TEST

START_TEST(an_exchange_may_be_left_at_any_time)
{
	struct auth_start start = {.mechanism = str_of("LOGIN"),
				   .is_secure = true};
	struct talk talk = {0};

	open_server();
	for (int i = 0; i < 20; i++)
		auth_free(auth_begin(server, &start, on_server, &talk));
	close_server();
	ck_assert(!talk.is_over);
}
END_TEST

START_TEST(a_server_closed_meanwhile_outlives_its_exchanges)
{
	struct auth_start start = {.mechanism = str_of("LOGIN"),
				   .is_secure = true};
	struct talk talk = {0};

	open_server();
	for (int i = 0; i < 20; i++)
		auth_free(auth_begin(server, &start, on_server, &talk));
	auth_server_close(server);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	ck_assert(!talk.is_over);
	remove_database();
}
END_TEST

static char listed[64];

static void
count_name(void *arg, const char *name)
{
	size_t len = strlen(listed);

	(void)snprintf(listed + len, sizeof(listed) - len, "%s ", name);
	++*(int *)arg;
}

START_TEST(who_only_looks_waits_for_nobody_who_changes_logins)
{
	struct auth_users *users, *looking;
	struct err err = ERR_INIT;
	int count = 0;

	make_database();
	ck_assert_int_eq(auth_users_open(database, "ostler", NULL, &users,
					 &err),
			 0);
	ck_assert_int_eq(auth_users_look(database, "ostler", &looking, &err),
			 -EWOULDBLOCK);
	/* and takes nothing away */
	ck_assert_int_eq(auth_users_list(users, count_name, &count, &err), 0);
	ck_assert_int_eq(count, 2);
	auth_users_close(users);
	ck_assert_int_eq(auth_users_look(database, "ostler", &looking, &err),
			 0);
	ck_assert_int_eq(auth_users_list(looking, count_name, &count, &err), 0);
	ck_assert_int_eq(count, 4);
	auth_users_close(looking);
	remove_database();
}
END_TEST

START_TEST(logins_are_added_changed_listed_and_removed)
{
	struct auth_users *users;
	struct err err = ERR_INIT;
	struct stat st;
	int count = 0;

	make_database();
	ck_assert_int_eq(auth_users_open(database, "ostler", NULL, &users,
					 &err),
			 0);
	ck_assert_int_eq(auth_users_list(users, count_name, &count, &err), 0);
	ck_assert_int_eq(count, 2);
	ck_assert_int_eq(auth_users_add(users, "anna", "x", &err), -EEXIST);
	ck_assert_int_eq(auth_users_passwd(users, "carl", "x", &err), -ENOENT);
	ck_assert_int_eq(auth_users_remove(users, "carl", &err), -ENOENT);
	ck_assert_int_eq(auth_users_passwd(users, "anna", "new", &err), 0);
	ck_assert_int_eq(auth_users_remove(users, "b@example.org", &err), 0);
	ck_assert_int_eq(auth_users_add(users, "zoe", "x", &err), 0);
	ck_assert_int_eq(auth_users_add(users, "Dora", "x", &err), 0);
	ck_assert_int_eq(auth_users_add(users, "bert", "x", &err), 0);
	listed[0] = '\0';
	ck_assert_int_eq(auth_users_list(users, count_name, &count, &err), 0);
	ck_assert_str_eq(listed, "Dora anna bert zoe ");
	ck_assert_int_eq(auth_users_remove(users, "zoe", &err), 0);
	ck_assert_int_eq(auth_users_remove(users, "Dora", &err), 0);
	ck_assert_int_eq(auth_users_remove(users, "bert", &err), 0);
	ck_assert_int_eq(auth_users_add(users, "a b", "x", &err), -EINVAL);
	ck_assert_int_eq(auth_users_add(users, "a@ostler", "x", &err), -EINVAL);
	ck_assert_int_eq(auth_users_add(users, "", "x", &err), -EINVAL);
	count = 0;
	ck_assert_int_eq(auth_users_list(users, count_name, &count, &err), 0);
	ck_assert_int_eq(count, 1);
	auth_users_close(users);
	ck_assert_int_eq(stat(database, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	remove_database();
}
END_TEST

/* What stands where a database was. */
static const struct {
	const char *bytes;
	size_t len;
} broken[] = {
	{"\0\0\0", 3},
	{"anna: secret\n", 13},
};

START_TEST(a_broken_database_is_told_and_never_empty)
{
	struct auth_users *users;
	struct err err = ERR_INIT;
	int count = 0;
	char text[32];
	FILE *file;

	make_database();
	file = fopen(database, "w");
	ck_assert_ptr_nonnull(file);
	(void)fwrite(broken[_i].bytes, 1, broken[_i].len, file);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(auth_users_open(database, "ostler", NULL, &users,
					 &err),
			 0);
	ck_assert_int_eq(auth_users_list(users, count_name, &count, &err),
			 -EIO);
	ck_assert_ptr_nonnull(strstr(err.text, database));
	ck_assert_ptr_nonnull(strstr(err.text, "cannot be read"));
	ck_assert_int_eq(count, 0);
	ck_assert_int_eq(auth_users_add(users, "carl", "x", &err), -EIO);
	ck_assert_int_eq(auth_users_passwd(users, "anna", "x", &err), -EIO);
	ck_assert_int_eq(auth_users_remove(users, "anna", &err), -EIO);
	auth_users_close(users);
	/* it may be mended yet */
	file = fopen(database, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fread(text, 1, sizeof(text), file), broken[_i].len);
	ck_assert_mem_eq(text, broken[_i].bytes, broken[_i].len);
	ck_assert_int_eq(fclose(file), 0);
	remove_database();
}
END_TEST

START_TEST(an_empty_file_is_a_database_without_logins)
{
	struct auth_users *users;
	struct err err = ERR_INIT;
	int count = 0;

	make_database();
	ck_assert_int_eq(truncate(database, 0), 0);
	ck_assert_int_eq(auth_users_open(database, "ostler", NULL, &users,
					 &err),
			 0);
	ck_assert_int_eq(auth_users_list(users, count_name, &count, &err), 0);
	ck_assert_int_eq(count, 0);
	ck_assert_int_eq(auth_users_add(users, "carl", "x", &err), 0);
	ck_assert_int_eq(auth_users_list(users, count_name, &count, &err), 0);
	ck_assert_int_eq(count, 1);
	auth_users_close(users);
	remove_database();
}
END_TEST

UNIT_MAIN(
	"auth",
	tcase_add_loop_test(
		tc, nobody_becomes_a_peer_of_a_unix_socket_by_a_password, 0, 2);
	tcase_add_loop_test(tc, each_mechanism_takes_the_right_password_only, 0,
			    (int)COUNT(cases));
	tcase_add_test(
		tc, an_unknown_login_takes_as_many_steps_as_a_wrong_password);
	tcase_add_test(tc, plain_text_is_offered_only_where_nobody_listens);
	tcase_add_loop_test(tc, a_certificate_is_its_first_name_that_is_a_login,
			    0, (int)COUNT(externals));
	tcase_add_loop_test(tc, a_token_is_sent_in_one_message, 0,
			    (int)COUNT(bearers));
	tcase_add_loop_test(
		tc,
		a_name_that_nobody_can_have_is_denied_before_the_library_sees_it,
		0, (int)COUNT(no_names));
	tcase_add_test(
		tc, login_asks_for_the_name_behind_an_empty_initial_response);
	tcase_add_test(tc, an_exchange_may_be_left_at_any_time);
	tcase_add_test(tc, a_server_closed_meanwhile_outlives_its_exchanges);
	tcase_add_test(tc, who_only_looks_waits_for_nobody_who_changes_logins);
	tcase_add_test(tc, logins_are_added_changed_listed_and_removed);
	tcase_add_test(tc, an_empty_file_is_a_database_without_logins);
	tcase_add_loop_test(tc, a_broken_database_is_told_and_never_empty, 0,
			    (int)COUNT(broken));)
