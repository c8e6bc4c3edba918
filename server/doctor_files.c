/* SPDX-License-Identifier: ISC */
#include "server/doctor_files.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "server/config.h"

struct search {
	const struct config *config;
	doctor_files_fn *say;
	void *arg;
	unsigned count;
};

/* NAME of "BEFORE.NAME.AFTER"; false: the setting is another one. */
static bool
title_of(const char *setting, const char *before, const char *after,
	 struct str *out)
{
	struct str name = str_of(setting), first = str_of(before),
		   last = str_of(after);

	if (name.len <= first.len + last.len ||
	    strncmp(name.at, first.at, first.len) != 0 ||
	    strcmp(name.at + name.len - last.len, last.at) != 0)
		return false;
	*out = str_from(name.at + first.len, name.len - first.len - last.len);
	return true;
}

/* A relative path begins in the folder of the file that names it ("FILE:LINE").
 * The caller frees it. */
static char *
path_of(const struct config_entry *entry)
{
	const char *slash = entry->at != NULL ? strrchr(entry->at, '/') : NULL;

	if (entry->value[0] == '/' || slash == NULL)
		return mem_strdup(entry->value);
	return mem_printf("%.*s/%s", (int)(slash - entry->at), entry->at,
			  entry->value);
}

void
doctor_files_let_read(const char *user, const char *path,
		      char out[DOCTOR_ADVICE_MAX])
{
	(void)snprintf(out, DOCTOR_ADVICE_MAX,
		       "Let %s read it: chgrp %s %.400s && chmod 640 %.400s, "
		       "and enter the folders above.",
		       user, user, path, path);
}

/* ------------------------------------------------------- a route's password */

static void
look_at_password(const struct search *search, struct str route,
		 const struct config_entry *entry)
{
	char about[120], text[PATH_MAX + 100], advice[DOCTOR_ADVICE_MAX];
	char *path = path_of(entry);

	(void)snprintf(about, sizeof(about), "route %.*s", STR_ARG(route));
	if (access(path, R_OK) == 0) {
		search->say(search->arg, "password", about, "ok",
			    "its file can be read", "");
		free(path);
		return;
	}
	if (errno == EACCES)
		doctor_files_let_read(search->config->user, path, advice);
	else
		(void)snprintf(advice, sizeof(advice),
			       "Write the password, alone, into %.400s.", path);
	(void)snprintf(text, sizeof(text), "%.*s: %s", PATH_MAX, path,
		       strerror(errno));
	search->say(search->arg, "password", about, "fail", text, advice);
	free(path);
}

/* ------------------------------------------------------- a domain's mailboxes
 */

/* The folder above the first part that differs by user, or by domain where
 * the row is for many; the Maildir itself where it is the only one. The caller
 * frees it. */
static char *
maildir_base(const char *path, struct str domain, bool *out_is_only)
{
	const char *user = strstr(path, "%u"), *at = strstr(path, "%d");
	bool is_one = domain.len != 0 && domain.at[0] != '*';
	size_t len = strlen(path);
	char *text, *slash;

	if (user != NULL)
		len = (size_t)(user - path);
	if (at == NULL || (size_t)(at - path) >= len)
		text = mem_dup(path, len);
	else if (!is_one)
		text = mem_dup(path, (size_t)(at - path));
	else
		text = mem_printf("%.*s%.*s%.*s", (int)(at - path), path,
				  STR_ARG(domain),
				  (int)(len - (size_t)(at - path) - 2), at + 2);
	*out_is_only = user == NULL && (at == NULL || is_one);
	slash = strrchr(text, '/');
	if (!*out_is_only && slash != NULL && slash != text)
		*slash = '\0';
	return text;
}

/* The deepest folder of it that is there; changes path. */
static void
cut_to_existing(char *path)
{
	while (access(path, F_OK) != 0 && errno == ENOENT) {
		char *slash = strrchr(path, '/');

		if (slash == NULL || slash == path)
			return;
		*slash = '\0';
	}
}

static void
look_at_maildirs(const struct search *search, struct str domain,
		 const char *path)
{
	const char *user = search->config->user;
	bool is_only;
	char *base = maildir_base(path, domain, &is_only);
	char *there = mem_strdup(base);
	char about[ADDR_DOMAIN_MAX + 1], text[PATH_MAX + 100];
	char advice[DOCTOR_ADVICE_MAX];

	(void)str_copy(about, sizeof(about), domain);
	cut_to_existing(there);
	if (access(there, W_OK | X_OK) == 0) {
		(void)snprintf(text, sizeof(text), "%.*s can be written",
			       PATH_MAX, there);
		search->say(search->arg, "mailboxes", about, "ok", text, "");
	} else {
		int code = errno;
		bool is_there = access(base, F_OK) == 0;
		/* those of all users may be there already */
		bool may_do = code == EACCES && is_there && !is_only;

		(void)snprintf(text, sizeof(text),
			       "no new folder can be made in %.*s: %s",
			       PATH_MAX, there, strerror(code));
		if (is_there) /* /home, /var/mail: nothing to take from others
			       */
			(void)snprintf(
				advice, sizeof(advice),
				"Maildirs belong to %s: give them a "
				"folder of its own in `deliver`, or this "
				"one if nobody else uses it: chown %s: "
				"%.400s",
				user, user, base);
		else
			(void)snprintf(advice, sizeof(advice),
				       "Maildirs belong to %s: install -d -o "
				       "%s -g %s %.400s",
				       user, user, user, base);
		search->say(search->arg, "mailboxes", about,
			    may_do ? "warn" : "fail", text, advice);
	}
	free(there);
	free(base);
}

static void
look_at_socket(const struct search *search, struct str domain, const char *path)
{
	char about[ADDR_DOMAIN_MAX + 1], text[PATH_MAX + 100];
	char advice[DOCTOR_ADVICE_MAX];
	const char *said = "";
	bool is_fine = access(path, W_OK) == 0;
	int code = errno;

	(void)str_copy(about, sizeof(about), domain);
	(void)snprintf(text, sizeof(text), "%.*s: %s", PATH_MAX, path,
		       is_fine ? "may be used" : strerror(code));
	if (!is_fine && code == EACCES) {
		(void)snprintf(advice, sizeof(advice),
			       "Let %s write to it: of Dovecot's socket that "
			       "is user, group or mode of its unix_listener.",
			       search->config->user);
		said = advice;
	} else if (!is_fine) {
		said = "See that the LMTP server runs and makes its socket "
		       "there.";
	}
	search->say(search->arg, "mailboxes", about, is_fine ? "ok" : "fail",
		    text, said);
}

/* ----------------------------------------------------------------- all */

static void
look_at(struct search *search, const struct config_entry *entry)
{
	static const char maildir[] = "maildir:", lmtp[] = "lmtp:unix:";
	struct str title;

	if (entry->value == NULL || entry->value[0] == '\0')
		return;
	if (title_of(entry->name, "route.", ".password_file", &title)) {
		look_at_password(search, title, entry);
		search->count++;
		return;
	}
	if (!title_of(entry->name, "domain.", ".deliver", &title))
		return;
	if (strncmp(entry->value, maildir, strlen(maildir)) == 0)
		look_at_maildirs(search, title, entry->value + strlen(maildir));
	else if (strncmp(entry->value, lmtp, strlen(lmtp)) == 0)
		look_at_socket(search, title, entry->value + strlen(lmtp));
	else
		return;
	search->count++;
}

void
doctor_files(const struct config *config, doctor_files_fn *say, void *arg)
{
	struct search search = {.config = config, .say = say, .arg = arg};

	for (size_t i = 0;
	     i < config->entry_count && search.count < DOCTOR_FILES_MAX; i++)
		look_at(&search, &config->entries[i]);
}
