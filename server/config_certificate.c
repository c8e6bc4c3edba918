/* SPDX-License-Identifier: ISC */
#include "server/config_certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"
#include "lib/mem.h"
#include "lib/str.h"

/* One spelling for a name, or NULL when it is none. The caller frees it. */
static char *
read_name(const char *text)
{
	char domain[ADDR_DOMAIN_MAX + 1];
	bool is_parent = text[0] == '.';

	/* RFC 6066, 3: a client asks for a host, never for an address */
	if (!addr_normalize_domain(str_of(text + is_parent), domain,
				   sizeof(domain)) ||
	    addr_is_literal(str_of(domain)))
		return NULL;
	return mem_printf("%s%s", is_parent ? "." : "", domain);
}

static bool
is_taken(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->certificate_count; i++) {
		char **names = config->certificates[i].names;

		for (; names != NULL && *names != NULL; names++)
			if (strcmp(*names, name) == 0)
				return true;
	}
	return false;
}

static void
add_name(struct config *config, const struct sourced *value,
	 struct config_report *report)
{
	struct certificate_config *to =
		&config->certificates[config->certificate_count - 1];
	char *name = read_name(value->text);
	size_t count = 0;

	if (name == NULL) {
		config_error(report, value->at,
			     "for \"%s\" is no server name: write "
			     "\"mail.example.org\", or \".example.org\" for "
			     "the names below it",
			     value->text);
		return;
	}
	if (is_taken(config, name)) {
		config_error(report, value->at,
			     "for \"%s\": another certificate is shown for "
			     "this name already",
			     value->text);
		free(name);
		return;
	}
	while (to->names[count] != NULL)
		count++;
	to->names[count] = name; /* there is room for all of them */
}

void
config_certificate_set(struct config *config,
		       const struct certificate_values *values,
		       struct config_report *report)
{
	struct certificate_config *to =
		&config->certificates[config->certificate_count - 1];

	to->names =
		mem_zalloc((values->names.count + 1) * sizeof(to->names[0]));
	for (size_t i = 0; i < values->names.count; i++)
		add_name(config, &values->names.at[i], report);
	if (values->names.count == 0)
		config_error(report, values->at,
			     "certificate \"%s\" needs for = "
			     "{\"mail.example.org\"}: the names that clients "
			     "ask for",
			     values->title);
	if (to->certificate == NULL || to->key == NULL)
		config_error(report, values->at,
			     "certificate \"%s\" needs certificate and key",
			     values->title);
	if ((to->second_certificate == NULL) != (to->second_key == NULL))
		config_error(report, values->at,
			     "certificate \"%s\": second_certificate and "
			     "second_key belong together",
			     values->title);
}

size_t
config_certificate_files(const struct config *config, const char ***out)
{
	size_t count = 0, max = 7 + 4 * (config->listener_count +
					 config->certificate_count);
	const char **paths = mem_zalloc(max * sizeof(*paths));
	const char *all[] = {config->tls.certificate,
			     config->tls.key,
			     config->tls.second_certificate,
			     config->tls.second_key,
			     config->tls.ca,
			     config->tls.client_ca,
			     config->tls.client_crl,
			     config->tls.client_logins};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] != NULL)
			paths[count++] = all[i];
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct listener_config *listener = &config->listeners[i];
		const char *own[] = {listener->certificate, listener->key,
				     listener->second_certificate,
				     listener->second_key};

		for (size_t j = 0; j < sizeof(own) / sizeof(own[0]); j++)
			if (own[j] != NULL)
				paths[count++] = own[j];
	}
	for (size_t i = 0; i < config->certificate_count; i++) {
		const struct certificate_config *one = &config->certificates[i];
		const char *own[] = {one->certificate, one->key,
				     one->second_certificate, one->second_key};

		for (size_t j = 0; j < sizeof(own) / sizeof(own[0]); j++)
			if (own[j] != NULL)
				paths[count++] = own[j];
	}
	*out = paths;
	return count;
}
