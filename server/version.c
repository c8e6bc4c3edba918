/* SPDX-License-Identifier: ISC */
#include "server/version.h"

#include <config.h> /* <>: not server/config.h */
#include <idn2.h>
#include <jansson.h>
#include <uv.h>

#include "auth/sasl.h"
#include "lib/net/dns_backend.h"
#include "lib/net/tls_ctx.h"

const char *
version_text(void)
{
	return PACKAGE_VERSION;
}

void
version_print(FILE *to)
{
	(void)fprintf(to,
		      "ostler %s\n"
		      "libuv %s\n"
		      "OpenSSL %s\n"
		      "libsasl2 %s\n"
		      "c-ares %s\n"
		      "libidn2 %s\n"
		      "jansson %s\n",
		      PACKAGE_VERSION, uv_version_string(),
		      tls_library_version(), auth_version(),
		      dns_backend_version(), idn2_check_version(NULL),
		      jansson_version_str());
#ifdef HAVE_CURL
	(void)fprintf(to, "libcurl %s (built with, for ostler-fetch)\n",
		      CURL_BUILT_WITH);
#endif
}
