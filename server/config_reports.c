/* SPDX-License-Identifier: ISC */
#include "server/config_reports.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/err.h"
#include "lib/mem.h"
#include "lib/str.h"
#include "queue/bounce/classify.h"
#include "queue/bounce/rules.h"
#include "queue/bounce/rules_builtin.h"
#include "queue/bounce/texts.h"
#include "server/client_logins.h"

struct reports {
	struct config *config;
	const char *section; /* that the keys are of */
	const struct scan *scan;
	scan_read_fn *read_file;
	struct config_report *report;
};

/* err: "PATH:LINE: what" */
static void
tell_mistake(struct reports *reports, const char *path, const struct err *err)
{
	size_t len = strlen(path);
	const char *what = strncmp(err->text, path, len) == 0
				   ? strstr(err->text + len, ": ")
				   : NULL;
	char *at;

	if (what == NULL) {
		config_error(reports->report, path, "%s", err->text);
		return;
	}
	at = mem_printf("%.*s", (int)(what - err->text), err->text);
	config_error(reports->report, at, "%s", what + 2);
	free(at);
}

/* A file as text; NULL after telling why not. New memory. */
static char *
read_text(struct reports *reports, const char *key, const char *path,
	  size_t max)
{
	const char *at = scan_place(reports->scan, reports->section, key, 0);
	struct err err = ERR_INIT;
	size_t len;
	char *text = reports->read_file(path, max, &len, &err);

	if (text == NULL) {
		config_error(reports->report, at, "%s: %s", key, err.text);
		return NULL;
	}
	if (strlen(text) == len)
		return text;
	config_error(reports->report, at, "%s: \"%s\" is no text", key, path);
	free(text);
	return NULL;
}

static void
load_rules(struct reports *reports)
{
	struct config *config = reports->config;
	const char *path = config->report.rules;
	struct err err = ERR_INIT;
	char *own;

	if (path == NULL) {
		config->report.classifier = classifier_builtin();
		return;
	}
	own = read_text(reports, "rules", path, RULES_BYTES_MAX);
	if (own != NULL &&
	    classifier_load(own, path, rules_builtin_text,
			    "built-in bounces.rules",
			    &config->report.classifier, &err) != 0)
		tell_mistake(reports, path, &err);
	free(own);
}

static void
load_language(struct reports *reports, const char *path, const char *tag)
{
	struct config *config = reports->config;
	char *text = read_text(reports, "texts", path, TEXTS_FILE_MAX);
	struct err err = ERR_INIT;
	size_t missing = 0;

	if (text != NULL && texts_add(config->report.loaded, tag, text, path,
				      &missing, &err) != 0)
		tell_mistake(reports, path, &err);
	if (missing != 0)
		config_warn(reports->report, path,
			    "%zu texts are missing and stay English", missing);
	free(text);
}

static int
is_language(const struct dirent *entry)
{
	return texts_is_tag(str_of(entry->d_name));
}

/* Every file that is named like a language, in the order of their names. */
static void
load_texts(struct reports *reports)
{
	struct config *config = reports->config;
	const char *folder = config->report.texts;
	struct dirent **entries;
	int count;

	if (folder == NULL) {
		config->report.loaded = texts_builtin();
		return;
	}
	config->report.loaded = texts_new();
	count = scandir(folder, &entries, is_language, alphasort);
	if (count < 0) {
		config_error(reports->report,
			     scan_place(reports->scan, "report", "texts", 0),
			     "texts: cannot read \"%s\": %s", folder,
			     strerror(errno));
		return;
	}
	for (int i = 0; i < count; i++) {
		char *path = mem_printf("%s/%s", folder, entries[i]->d_name);

		load_language(reports, path, entries[i]->d_name);
		free(path);
		free(entries[i]);
	}
	free(entries);
}

void
config_load_reports(struct config *config, const struct scan *scan,
		    scan_read_fn *read_file, struct config_report *report)
{
	struct reports reports = {config, "report", scan, read_file, report};

	load_rules(&reports);
	load_texts(&reports);
	/* an empty one was refused already */
	if (config->report.language != NULL &&
	    texts_language(config->report.loaded,
			   str_of(config->report.language)) == NULL)
		config_error(report, scan_place(scan, "report", "language", 0),
			     "language \"%s\": there are no texts in it",
			     config->report.language);
}

void
config_load_client_logins(struct config *config, const struct scan *scan,
			  scan_read_fn *read_file, struct config_report *report)
{
	struct reports reports = {config, "tls", scan, read_file, report};
	const char *path = config->tls.client_logins;
	struct err err = ERR_INIT;
	char *text;

	if (path == NULL)
		return;
	text = read_text(&reports, "client_logins", path,
			 CLIENT_LOGINS_BYTES_MAX);
	if (text == NULL)
		return;
	config->tls.logins = client_logins_read(text, path, &err);
	if (config->tls.logins == NULL)
		tell_mistake(&reports, path, &err);
	free(text);
}
