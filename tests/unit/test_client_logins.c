/* SPDX-License-Identifier: ISC */
#include "server/client_logins.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

static const char people[] = "# who may log in by certificate\r\n"
			     "anna\n"
			     "\n"
			     "  Bob: the Builder: bob  \n"
			     "laptop-7.example.org: anna\n"
			     "carl@local.example:carl\n"
			     "dora@local.example";

static const struct {
	const char *name, *login;
} asked[] = {
	{"anna", "anna"},
	{"Bob: the Builder", "bob"},
	{"laptop-7.example.org", "anna"},
	/* no space: the colon is part of the name */
	{"carl@local.example:carl", "carl@local.example:carl"},
	{"dora@local.example", "dora@local.example"},
	{"Anna", NULL},
	{"bob", NULL},
	{"", NULL},
	{"# who may log in by certificate", NULL},
};

START_TEST(a_name_has_the_login_of_its_line_or_none)
{
	struct err err = ERR_INIT;
	struct client_logins *logins = client_logins_read(people, "p", &err);

	ck_assert_ptr_nonnull(logins);
	ck_assert_pstr_eq(client_logins_find(logins, asked[_i].name),
			  asked[_i].login);
	client_logins_free(logins);
}
END_TEST

START_TEST(an_empty_list_is_nobody)
{
	struct client_logins *logins = client_logins_read("", "p", NULL);

	ck_assert_ptr_nonnull(logins);
	ck_assert_ptr_null(client_logins_find(logins, "anna"));
	client_logins_free(logins);
	client_logins_free(NULL);
}
END_TEST

START_TEST(many_names_are_found)
{
	static char text[200000];
	struct client_logins *logins;
	size_t len = 0;
	char name[32], login[32];

	for (unsigned i = 0; i < 5000; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"name-%u: login-%u\n", i * 7919 % 5000,
					i * 7919 % 5000);
	logins = client_logins_read(text, "p", NULL);
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "name-%u", i);
		(void)snprintf(login, sizeof(login), "login-%u", i);
		ck_assert_pstr_eq(client_logins_find(logins, name), login);
	}
	client_logins_free(logins);
}
END_TEST

static const struct {
	const char *text, *says;
} mistakes[] = {
	{"anna\nbob:\n", "p:2: a login is missing behind the colon"},
	{"bob: \n", "p:1: a login is missing behind the colon"},
	{": bob\n", "p:1: a name is missing before the colon"},
	{"a\tb\n", "p:1: a control character"},
	{"x: unix:root\n", "p:1: \"unix:\" is for programs of this machine"},
	{"unix:root\n", "p:1: \"unix:\" is for programs of this machine"},
	{"a: x\nb: y\na: z\n", "p:3: the name stands in another line already"},
};

START_TEST(a_mistake_is_told_with_its_line)
{
	struct err err = ERR_INIT;

	ck_assert_ptr_null(client_logins_read(mistakes[_i].text, "p", &err));
	ck_assert_str_eq(err.text, mistakes[_i].says);
}
END_TEST

UNIT_MAIN("client_logins",
	  tcase_add_loop_test(tc, a_name_has_the_login_of_its_line_or_none, 0,
			      (int)COUNT(asked));
	  tcase_add_test(tc, an_empty_list_is_nobody);
	  tcase_add_test(tc, many_names_are_found);
	  tcase_add_loop_test(tc, a_mistake_is_told_with_its_line, 0,
			      (int)COUNT(mistakes));)
