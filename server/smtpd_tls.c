/* SPDX-License-Identifier: ISC */
/*
 * server/smtpd_tls.c - the certificates of all listeners
 */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/net/tls_ctx.h"
#include "lib/str.h"
#include "server/config.h"
#include "server/smtpd.h"

/* The certificate made for a relay that has none: spool/tls/. */
static int
smtpd_tls_make(const struct config *config, char **out_certificate,
	       char **out_key, bool *out_made, struct err *err)
{
	char *dir = mem_printf("%s/tls", config->spool);
	char *certificate = mem_printf("%s/tls/certificate.pem", config->spool);
	char *key = mem_printf("%s/tls/key.pem", config->spool);
	int rc = 0;

	if (mkdir(config->spool, 0700) < 0 && errno != EEXIST)
		rc = err_set(err, -errno, "folder '%s'", config->spool);
	else if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		rc = err_set(err, -errno, "folder '%s'", dir);
	else if (access(key, F_OK) < 0 && errno == ENOENT) {
		rc = tls_make_self_signed(config->hostname, certificate, key,
					  err);
		*out_made = rc == 0;
	}
	free(dir);
	if (rc < 0) {
		free(certificate);
		free(key);
		return rc;
	}
	*out_certificate = certificate;
	*out_key = key;
	return 0;
}

static int
smtpd_tls_open_one(const struct config *config,
		   const struct listener_config *listener,
		   const struct tls_files *made,
		   const struct tls_site_files *sites, struct tls_ctx **out,
		   struct err *err)
{
	struct tls_server_opts opts = {
		.sites = sites,
		.site_count = config->certificate_count,
		.minimum = config->tls.minimum,
	};

	/* only where one can log in: some servers stumble over being asked,
	 * and on an mx nothing would come of it */
	if (listener->role == POLICY_SUBMISSION) {
		opts.client_ca = config->tls.client_ca;
		opts.client_crl = config->tls.client_crl;
	}
	if (listener->certificate != NULL)
		opts.files =
			(struct tls_files){listener->certificate, listener->key,
					   listener->second_certificate,
					   listener->second_key};
	else if (config->tls.certificate != NULL)
		opts.files = (struct tls_files){config->tls.certificate,
						config->tls.key,
						config->tls.second_certificate,
						config->tls.second_key};
	else
		opts.files = *made;
	return tls_ctx_server(&opts, out, err);
}

static struct tls_site_files *
smtpd_tls_sites(const struct config *config)
{
	size_t count = config->certificate_count;
	struct tls_site_files *sites = mem_zalloc((count + 1) * sizeof(*sites));

	for (size_t i = 0; i < count; i++) {
		const struct certificate_config *one = &config->certificates[i];

		sites[i].names = (const char *const *)one->names;
		sites[i].files = (struct tls_files){one->certificate, one->key,
						    one->second_certificate,
						    one->second_key};
	}
	return sites;
}

static bool
smtpd_tls_needs_own(const struct config *config)
{
	if (config->tls.certificate != NULL)
		return false;
	for (size_t i = 0; i < config->listener_count; i++)
		if (config->listeners[i].tls != LISTENER_TLS_NONE &&
		    config->listeners[i].certificate == NULL)
			return true;
	return false;
}

/* Files are opened with the rights of `user`: its group is who must read. */
static int
smtpd_tls_unreadable(struct err *err)
{
	char why[ERR_TEXT_MAX], room[1024];
	struct group entry, *group = NULL;

	(void)str_copy(why, sizeof(why), str_of(err->text));
	(void)getgrgid_r(getegid(), &entry, room, sizeof(room), &group);
	if (group != NULL)
		return err_text(err, -EACCES,
				"%s: let group '%s' read it, and enter the "
				"folders above it",
				why, group->gr_name);
	return err_text(err, -EACCES,
			"%s: let group %u read it, and enter the folders "
			"above it",
			why, (unsigned)getegid());
}

int
smtpd_tls_open(const struct config *config, struct smtpd_tls **out,
	       bool *out_made, struct err *err)
{
	struct smtpd_tls *tls = mem_zalloc(sizeof(*tls));
	struct tls_site_files *sites = smtpd_tls_sites(config);
	char *certificate = NULL, *key = NULL;
	struct tls_files made = {NULL, NULL, NULL, NULL};
	int rc = 0;

	*out_made = false;
	tls->count = config->listener_count;
	tls->contexts = mem_zalloc(tls->count * sizeof(*tls->contexts));
	if (smtpd_tls_needs_own(config))
		rc = smtpd_tls_make(config, &certificate, &key, out_made, err);
	made.certificate = certificate;
	made.key = key;
	for (size_t i = 0; rc == 0 && i < tls->count; i++)
		if (config->listeners[i].tls != LISTENER_TLS_NONE)
			rc = smtpd_tls_open_one(config, &config->listeners[i],
						&made, sites, &tls->contexts[i],
						err);
	free(sites);
	free(certificate);
	free(key);
	if (rc < 0) {
		smtpd_tls_free(tls);
		return rc == -EACCES && err != NULL ? smtpd_tls_unreadable(err)
						    : rc;
	}
	*out = tls;
	return 0;
}

void
smtpd_tls_free(struct smtpd_tls *tls)
{
	if (tls == NULL)
		return;
	for (size_t i = 0; i < tls->count; i++)
		tls_ctx_unref(tls->contexts[i]);
	free(tls->contexts);
	free(tls);
}
