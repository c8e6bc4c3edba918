/* SPDX-License-Identifier: ISC */
#include "server/config.h"

#include <stdlib.h>
#include <string.h>

#include "queue/bounce/classify.h"
#include "queue/bounce/texts.h"
#include "server/client_logins.h"

struct config *
config_ref(struct config *config)
{
	(void)__atomic_add_fetch(&config->refs, 1, __ATOMIC_RELAXED);
	return config;
}

static void
texts_free(char **texts)
{
	for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
		free(texts[i]);
	free(texts);
}

static void
listener_done(struct listener_config *listener)
{
	for (size_t i = 0; i < listener->address_count; i++)
		free(listener->addresses[i].unix_path);
	free(listener->addresses);
	free(listener->proxy_from);
	free(listener->certificate);
	free(listener->key);
	free(listener->second_certificate);
	free(listener->second_key);
	free(listener->name);
	free(listener->at);
}

static void
certificate_done(struct certificate_config *certificate)
{
	texts_free(certificate->names);
	free(certificate->certificate);
	free(certificate->key);
	free(certificate->second_certificate);
	free(certificate->second_key);
}

void
config_unref(struct config *config)
{
	if (config == NULL ||
	    __atomic_sub_fetch(&config->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (size_t i = 0; i < config->listener_count; i++)
		listener_done(&config->listeners[i]);
	free(config->listeners);
	for (size_t i = 0; i < config->certificate_count; i++)
		certificate_done(&config->certificates[i]);
	free(config->certificates);
	for (size_t i = 0; i < config->entry_count; i++) {
		free(config->entries[i].name);
		free(config->entries[i].value);
		free(config->entries[i].at);
	}
	free(config->entries);
	policy_unref(config->policy);
	texts_free(config->auth.mechanisms);
	texts_free(config->auth.options);
	texts_free(config->resolver.servers);
	free(config->auth.database);
	free(config->auth.realm);
	free(config->tls.certificate);
	free(config->tls.key);
	free(config->tls.second_certificate);
	free(config->tls.second_key);
	free(config->tls.client_ca);
	free(config->tls.ca);
	free(config->tls.client_crl);
	free(config->tls.client_logins);
	client_logins_free(config->tls.logins);
	free(config->tls.minimum);
	free(config->queue.retry_s);
	free(config->queue.alert_command);
	classifier_unref(config->report.classifier);
	texts_unref(config->report.loaded);
	free(config->report.language);
	free(config->report.texts);
	free(config->report.rules);
	free(config->hostname);
	free(config->postmaster);
	free(config->qualify);
	free(config->spool);
	free(config->control_socket);
	free(config->user);
	free(config->file);
	free(config);
}

void
config_queue_opts(const struct config *config, struct queue_opts *out)
{
	memset(out, 0, sizeof(*out));
	out->spool_dir = config->spool;
	out->spool_free = config->limits.spool_free;
	out->retry_s = config->queue.retry_s;
	out->retry_count = config->queue.retry_count;
	out->expire_s = config->queue.expire_s;
	out->warn_s = config->queue.warn_s;
	out->bounce_expire_s = config->queue.bounce_expire_s;
	out->grace_s = config->queue.grace_s;
	out->reports_per_sender = config->queue.reports_per_sender;
	out->digest_s = config->queue.digest_s;
	out->connections = config->queue.connections;
	out->port = config->queue.port;
	out->connect_timeout_ms = config->queue.connect_timeout_ms;
	out->idle_connection_ms = config->queue.idle_connection_ms;
	out->deliver = config->queue.deliver;
	out->private_targets = config->resolver.private_targets;
	out->ca = config->tls.ca;
	out->classifier = config->report.classifier;
	out->texts = config->report.loaded;
	out->language = config->report.language;
}

void
config_resolver_opts(const struct config *config, struct resolver_opts *out)
{
	memset(out, 0, sizeof(*out));
	out->servers = (const char *const *)config->resolver.servers;
	out->timeout_ms = config->resolver.timeout_ms;
	out->attempts = config->resolver.attempts;
	out->ttl_max_s = config->resolver.ttl_max_s;
	out->negative_ttl_max_s = config->resolver.negative_ttl_max_s;
}

const char *
config_password_program(const struct config *config)
{
	static const char method[] = "pwcheck_method=";
	char *const *options = config->auth.options;

	for (size_t i = 0; options != NULL && options[i] != NULL; i++)
		if (str_starts_nocase(str_of(options[i]), method) &&
		    strncmp(options[i] + strlen(method), "auxprop", 7) != 0)
			return options[i] + strlen(method);
	return NULL;
}
