/* SPDX-License-Identifier: ISC */
#include "queue/redirect.h"

#include <stdio.h>
#include <string.h>

#include "policy/routes.h"
#include "queue/core.h"

const char *
redirect_parse(const char *via, struct redirect_target *out)
{
	static const char smtp[] = "smtp:", smtps[] = "smtps:";
	char text[ADDR_DOMAIN_MAX + 32];
	bool has_scheme = strncmp(via, smtp, sizeof(smtp) - 1) == 0 ||
			  strncmp(via, smtps, sizeof(smtps) - 1) == 0;
	struct target_text target;
	const char *problem;

	if (strlen(via) + sizeof(smtp) > sizeof(text))
		return "is too long";
	(void)snprintf(text, sizeof(text), "%s%s", has_scheme ? "" : smtp, via);
	problem = target_parse(str_of(text), &target);
	if (problem != NULL)
		return problem;
	if (!str_copy(out->host, sizeof(out->host), target.host))
		return "has too long a name";
	out->target =
		(struct hop_target){.host = out->host,
				    .port = target.port,
				    .is_implicit_tls = target.is_implicit_tls};
	return NULL;
}

static enum hop_tls
tls_there(enum hop_tls tls, const struct hop_target *there)
{
	switch (tls) {
	case HOP_TLS_NONE:
		/* smtps: is TLS, whatever the route does without */
		return there->is_implicit_tls ? HOP_TLS_OPPORTUNISTIC : tls;
	case HOP_TLS_OPPORTUNISTIC:
	case HOP_TLS_REQUIRED:
	case HOP_TLS_VERIFIED:
		return tls;
	case HOP_TLS_DANE:
	case HOP_TLS_STS:
		break;
	}
	return HOP_TLS_VERIFIED;
}

void
redirect_next_hop(const struct policy *policy, const struct envelope *envelope,
		  size_t recipient, struct redirect_target *room,
		  struct next_hop *out)
{
	const struct recipient *to = &envelope->recipients[recipient];
	struct addr sender, address;

	addr_stored(envelope->sender, &sender);
	addr_stored(to->address, &address);
	policy_next_hop(policy, &sender, &address, out, NULL);
	if (to->via == NULL || redirect_parse(to->via, room) != NULL)
		return;
	out->kind = HOP_SMTP;
	(void)snprintf(out->key, sizeof(out->key), "via %s", to->via);
	out->targets = &room->target;
	out->target_count = 1;
	out->is_backup = false;
	out->tls = tls_there(out->tls, &room->target);
	out->user = out->password_file = out->token_command = NULL;
	out->mechanisms = NULL;
	out->maildir = NULL;
}
