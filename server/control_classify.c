/* SPDX-License-Identifier: ISC */
/*
 * server/control_classify.c - ostlerctl classify, by the daemon's own rules
 */
#include "server/classify_json.h"
#include "server/config.h"
#include "server/control.h"
#include "server/daemon.h"

void
control_classify(struct control_request *request)
{
	const struct config *config = request->daemon->config;
	const char *language = control_arg(request, "language");
	const char *reply = control_arg(request, "reply");

	if (reply == NULL) {
		control_end(request, EXIT_USAGE, "a reply is needed");
		return;
	}
	/* one row: it fits */
	(void)control_row(request,
			  classify_json(config->report.classifier,
					config->report.loaded,
					language != NULL
						? language
						: config->report.language,
					reply));
	control_end(request, EXIT_DONE, NULL);
}
